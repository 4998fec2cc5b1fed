/* Included before everything else: simulated ranks do not clear large memory, which holds numbers that nobody adds
 * (floats.c). Untouched, the pages of 1,024 gradients cost nothing. */
#include <string.h>
#define memset(memory, value, bytes) ((bytes) < 65536 ? (memset)(memory, value, bytes) : (void *)(memory))
