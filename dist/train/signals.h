/* signals.h: being asked to stop.
 *
 * SIGUSR1, SIGUSR2, SIGTERM and SIGINT set a flag and nothing else. While the flag is set the threads skip what they
 * have to compute (pool_stop_when), so a rank is soon at the end of its step; there the ranks agree, drop that step,
 * write a checkpoint of the one before and exit with 75. A second signal ends the process at once. Launcher and scheduler
 * often deliver one request twice, within milliseconds (Slurm to every task, mpirun to its children), so only a signal
 * that comes at least a second after the first counts as a second one.
 *
 *     signals_catch(error);                       // after MPI_Init
 *     ...
 *     if (signals_caught()) ...                    // the number of the first signal
 */
#ifndef DIST_TRAIN_SIGNALS_H
#define DIST_TRAIN_SIGNALS_H

#include <stdatomic.h>
#include "core/base/status.h"

/* Also ignores SIGXFSZ, so that a file-size limit is a failed write with a message and not a death. */
Status signals_catch(Error *error);
int signals_caught(void);             /* the first signal caught since signals_catch; 0: none */
const atomic_int *signals_flag(void); /* where that number stands */
const char *signals_name(int number); /* "SIGUSR1" */

#endif
