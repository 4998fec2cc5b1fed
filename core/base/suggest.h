/* suggest.h: "did you mean ...?" */
#ifndef CORE_BASE_SUGGEST_H
#define CORE_BASE_SUGGEST_H

/* The name with the fewest insertions, deletions and replacements from `wanted`, upper and lower case alike; NULL when
 * none is near. `name_at(context, i)` yields the names in order and NULL past the last. */
typedef const char *(*NameAt)(const void *context, int index);
const char *suggest_name(const char *wanted, NameAt name_at, const void *context);

#endif
