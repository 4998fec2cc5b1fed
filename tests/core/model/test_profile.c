#include <criterion/criterion.h>
#include <string.h>
#include <time.h>

#include "core/model/profile.h"
#include "tests/support/golden.h"
#include "tests/support/models.h"
#include "tests/support/trial.h"

enum { THREADS = 3 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

Test(profile, parts_add_up_to_the_time_of_all_threads_and_change_no_bit)
{
    Error error = {0};
    for (int m = 0; TINY_MODELS[m]; m++) {
        ModelConfig config = golden_model(TINY_MODELS[m]);
        if (config.variant != VARIANT_DENSE) config.depth = 3;
        Trial plain = trial_start(&config, 9, MODEL_TRAIN, THREADS),
              timed = trial_start(&config, 9, MODEL_TRAIN, THREADS);
        Profile *profile;
        cr_assert_eq(profile_create(&profile, THREADS, &error), STATUS_OK);
        model_profile(timed.model, profile);
        trial_forward(&plain);
        trial_backward(&plain);
        double begin = now();
        profile_reset(profile);
        trial_forward(&timed);
        trial_backward(&timed);
        profile_charge_all(profile, PHASE_IDLE);
        double elapsed = now() - begin, total = 0;
        for (Phase part = 0; part < PHASES; part++) {
            cr_assert_geq(profile_seconds(profile, part), 0, "%s", profile_phase_name(part));
            total += profile_seconds(profile, part);
        }
        cr_assert_leq(total, THREADS * elapsed);
        cr_assert_gt(profile_seconds(profile, PHASE_LINEARS), 0, "%s", config.name);
        cr_assert_gt(profile_seconds(profile, PHASE_ATTENTION), 0);
        cr_assert_gt(profile_seconds(profile, PHASE_NORMS), 0);
        cr_assert_eq(profile_seconds(profile, PHASE_UPDATE), 0);
        cr_assert_arr_eq(timed.logits, plain.logits, 90 * sizeof(float), "%s", config.name);
        cr_assert_arr_eq(timed.grads, plain.grads, (size_t)plain.table->size * sizeof(float), "%s", config.name);
        profile_free(profile);
        trial_end(&plain);
        trial_end(&timed);
    }
}
