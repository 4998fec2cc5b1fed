/* profile.h: where a step's time goes. Each thread has a clock; to charge a phase adds the time since the thread's last
 * charge to it. So all of a thread's time belongs to some phase, and the phases of all threads add up to threads x time.
 *
 *     Profile *profile;
 *     profile_create(&profile, threads, error);
 *     model_profile(model, profile);
 *     profile_reset(profile);
 *     ... steps ...
 *     double seconds = profile_seconds(profile, PHASE_LINEARS);   // of all threads
 */
#ifndef CORE_MODEL_PROFILE_H
#define CORE_MODEL_PROFILE_H

#include "core/base/status.h"

typedef enum Phase {
    PHASE_SPLIT,     /* soft split and its gradient */
    PHASE_TOKENS,    /* attention of the token layers, by Performer features or in full */
    PHASE_ATTENTION, /* of the backbone */
    PHASE_LINEARS,   /* products of the linear layers, their gradients, and copies of weights */
    PHASE_NORMS,     /* norms, activations, residuals, biases, dropout and their gradients */
    PHASE_LOSS,
    PHASE_UPDATE, /* clipping, optimizer, EMA */
    PHASE_OTHER,  /* what one thread does while the others wait */
    PHASE_IDLE,   /* waiting for others */
    PHASES,
} Phase;

typedef struct Profile Profile;

Status profile_create(Profile **profile, int threads, Error *error);
void profile_free(Profile *profile); /* accepts NULL */
void profile_reset(Profile *profile);
void profile_charge(Profile *profile, int thread, Phase phase);
void profile_charge_all(Profile *profile, Phase phase); /* of all threads; none may be running */
double profile_seconds(const Profile *profile, Phase phase);
const char *profile_phase_name(Phase phase);

#endif
