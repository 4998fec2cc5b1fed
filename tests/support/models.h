/* models.h: the configurations of the models in tests/goldens/models, by name: the published ones, `t2t_vit_14_384`,
 * and the small ones of full gradients, `tiny_*`. An unknown name fails the test. */
#ifndef TESTS_SUPPORT_MODELS_H
#define TESTS_SUPPORT_MODELS_H

#include "core/model/zoo.h"

ModelConfig golden_model(const char *name);

extern const char *const TINY_MODELS[]; /* NULL at the end */

#endif
