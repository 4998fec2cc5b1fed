/* inference_model.h: a trained model and what its weights file knows: for eval, predict and visualize.
 *
 * Weights that t2t wrote carry their configuration and the names of their classes; others need --model or --config.
 * What is given wins over what the file says.
 *
 *     Classifier classifier;
 *     classifier_open(&classifier, &source, error);           // configuration, parameters, weights
 *     classifier_prepare(&classifier, batch, threads, error);  // the model
 *     model_forward(classifier.model, &input, logits);
 *     classifier_close(&classifier);
 */
#ifndef TOOLS_INFERENCE_MODEL_H
#define TOOLS_INFERENCE_MODEL_H

#include "core/model/model.h"
#include "core/model/weights.h"
#include "tools/settings.h"

typedef struct ClassifierSource {
    const char *weights; /* the file */
    Settings settings;   /* --config and --model stand in the place of what the weights carry */
} ClassifierSource;

typedef struct Classifier {
    Config config;
    ParamTable table;
    float *weights;
    WeightsReport report;
    char **class_names; /* (num_classes) or NULL when the file has none */
    Pool *pool;
    Model *model;
} Classifier;

/* The configuration that a weights file is run with: its own, or what `settings` says in its place. */
Status weights_configuration(const char *weights, const Settings *settings, Config *config, Error *error);

Status classifier_open(Classifier *classifier, const ClassifierSource *source, Error *error);
Status classifier_prepare(Classifier *classifier, int batch, int threads, Error *error);
void classifier_close(Classifier *classifier); /* accepts a zeroed one */

/* "Pullover", "tench, Tinca tinca (n01440764)" for ImageNet's classes, or "class 0" when there are no names. */
void classifier_name(const Classifier *classifier, int class, char *text, size_t size);

#endif
