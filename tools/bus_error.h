/* bus_error.h: what is said when a mapped file ends before its map does.
 *
 * Shards and tars are mapped. When such a file is cut short meanwhile, or its disk fails, the next look at the missing
 * bytes is a SIGBUS, in whichever thread: there is nothing left to return to, so the process names the file and ends. */
#ifndef TOOLS_BUS_ERROR_H
#define TOOLS_BUS_ERROR_H

/* Call once at the start. A bus error in a mapped file then ends the process with STATUS_DATA; any other is left to the
 * system, as without this. */
void bus_error_explain(void);

#endif
