/* profile.h: where a step's time goes. Each thread has a clock that runs on from one lap to the next; a lap adds the
 * time since the last one to a part. So all of a thread's time belongs to some part, and the parts of all threads add
 * up to threads x time.
 *
 *     Profile *profile;
 *     profile_create(&profile, threads, error);
 *     model_profile(model, profile);
 *     profile_reset(profile);
 *     ... steps ...
 *     double seconds = profile_seconds(profile, PART_LINEARS);   // of all threads
 */
#ifndef CORE_MODEL_PROFILE_H
#define CORE_MODEL_PROFILE_H

#include "core/base/status.h"

typedef enum Part {
    PART_SPLIT,     /* soft split and its gradient */
    PART_TOKENS,    /* attention of the token layers, by Performer features or in full */
    PART_ATTENTION, /* of the backbone */
    PART_LINEARS,   /* products of the linear layers, their gradients, and copies of weights */
    PART_NORMS,     /* norms, activations, residuals, biases, dropout and their gradients */
    PART_LOSS,
    PART_UPDATE, /* clipping, optimizer, EMA */
    PART_OTHER,  /* what one thread does while the others wait */
    PART_IDLE,   /* waiting for others */
    PARTS,
} Part;

typedef struct Profile Profile;

Status profile_create(Profile **profile, int threads, Error *error);
void profile_free(Profile *profile); /* accepts NULL */
void profile_reset(Profile *profile);
void profile_lap(Profile *profile, int thread, Part part);
void profile_lap_all(Profile *profile, Part part); /* of all threads; none may be running */
double profile_seconds(const Profile *profile, Part part);
const char *profile_part_name(Part part);

#endif
