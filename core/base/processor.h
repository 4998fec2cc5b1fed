/* processor.h: what the processor of this machine is called. */
#ifndef CORE_BASE_PROCESSOR_H
#define CORE_BASE_PROCESSOR_H

#include <stddef.h>

/* As Linux tells it (x86), or from the numbers of its maker (Arm), or the name of its architecture. */
void processor_name(char *text, size_t room);

/* The same from the text of a /proc/cpuinfo. */
void processor_name_from(const char *cpuinfo, char *text, size_t room);

#endif
