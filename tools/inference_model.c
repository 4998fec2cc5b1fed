#include "tools/inference_model.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "data/dataset/imagenet_classes.h"

/* The file's own configuration, unless another is given. A file from elsewhere tells the number of its classes. */
static Status configure(const Safetensors *file, const Settings *settings, Config *config, Error *error)
{
    if (settings->config) return settings_load(settings, config, error);
    const char *text = settings->model[0] ? NULL : safetensors_metadata(file, "config");
    if (text) return config_parse(config, text, file->path, settings->sets, settings->count, error);
    if (!settings->model[0])
        return error_set(error, STATUS_USAGE,
                         "%s does not say what model it belongs to: name it by --model NAME or --config FILE",
                         file->path);
    char classes[64];
    const char *sets[MAX_SETS + 1] = {classes};
    const SafetensorsEntry *head = safetensors_find(file, "head.weight");
    snprintf(classes, sizeof classes, "num_classes=%" PRId64, head && head->ndim == 2 ? head->shape[0] : 1000);
    memcpy(sets + 1, settings->sets, (size_t)settings->count * sizeof *sets);
    return config_parse(config, NULL, NULL, sets, settings->count + 1, error);
}

Status weights_configuration(const char *weights, const Settings *settings, Config *config, Error *error)
{
    Safetensors file = {0};
    Status status = safetensors_open(&file, weights, error);
    if (status) return status;
    status = configure(&file, settings, config, error);
    safetensors_close(&file);
    return status;
}

static Status read_names(Classifier *classifier, const Safetensors *file, Error *error)
{
    const char *text = safetensors_metadata(file, "class_names");
    if (!text) return STATUS_OK;
    int classes = classifier->config.model.num_classes;
    json_t *names = json_loads(text, 0, NULL);
    size_t count = json_array_size(names);
    classifier->class_names = memory_alloc(classes, sizeof *classifier->class_names, "the names of the classes", error);
    bool full = classifier->class_names != NULL;
    for (size_t i = 0; full && i < count && i < (size_t)classes; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        classifier->class_names[i] = name ? memory_copy_text(name, "the names of the classes", error) : NULL;
        full = !name || classifier->class_names[i];
    }
    json_decref(names);
    return full ? STATUS_OK : STATUS_FAILED;
}

static Status load(Classifier *classifier, const ClassifierSource *source, Error *error)
{
    const ModelConfig *model = &classifier->config.model;
    Status status = params_build(&classifier->table, model, error);
    if (status) return status;
    classifier->weights = memory_alloc(classifier->table.size, sizeof *classifier->weights, "the weights", error);
    if (!classifier->weights) return STATUS_FAILED;
    params_init(&classifier->table, 0, classifier->weights);
    status = weights_load(source->weights, &classifier->table, classifier->weights, &classifier->report, error);
    if (!status && classifier->report.head_dropped)
        status =
            error_set(error, STATUS_USAGE, "%s knows %" PRId64 " classes and the configuration %d: set num_classes",
                      source->weights, classifier->report.file_classes, model->num_classes);
    return status;
}

Status classifier_open(Classifier *classifier, const ClassifierSource *source, Error *error)
{
    *classifier = (Classifier){0};
    Safetensors file = {0};
    if (!source->weights) return error_set(error, STATUS_USAGE, "--weights FILE is missing");
    Status status = safetensors_open(&file, source->weights, error);
    if (status) return status;
    status = configure(&file, &source->settings, &classifier->config, error);
    if (!status) status = read_names(classifier, &file, error);
    safetensors_close(&file);
    if (!status) status = load(classifier, source, error);
    if (status) classifier_close(classifier);
    return status;
}

Status classifier_prepare(Classifier *classifier, int batch, int threads, Error *error)
{
    Status status = pool_create(&classifier->pool, pool_useful_threads(threads), error);
    if (!status)
        status =
            model_create(&classifier->model, &classifier->config.model, batch, MODEL_EVAL, classifier->pool, error);
    if (!status) model_set_weights(classifier->model, classifier->weights);
    return status;
}

void classifier_close(Classifier *classifier)
{
    model_free(classifier->model);
    pool_free(classifier->pool);
    if (classifier->class_names)
        for (int i = 0; i < classifier->config.model.num_classes; i++) free(classifier->class_names[i]);
    free(classifier->class_names);
    free(classifier->weights);
    params_free(&classifier->table);
    *classifier = (Classifier){0};
}

/* ImageNet's classes are called by their WordNet ids, in data sets, or, in weights from elsewhere, by no name at all: then a
 * thousand classes are taken for those. */
static const ImagenetClass *imagenet_class_called(const char *name, int class, int classes)
{
    if (name) return imagenet_class_of_wnid(name);
    return classes == IMAGENET_CLASSES ? imagenet_class(class) : NULL;
}

void classifier_name(const Classifier *classifier, int class, char *text, size_t size)
{
    const char *name = classifier->class_names ? classifier->class_names[class] : NULL;
    const ImagenetClass *known = imagenet_class_called(name, class, classifier->config.model.num_classes);
    if (known)
        snprintf(text, size, "%s (%s)", known->words, known->wnid);
    else if (name)
        snprintf(text, size, "%s", name);
    else
        snprintf(text, size, "class %d", class);
}
