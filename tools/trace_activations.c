#include "tools/trace_activations.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "tools/layer_names.h"

typedef struct Keeper {
    ActivationList *list;
    const char *pattern;
    int batch;
    LayerNames names;
    Error error; /* of the first one that could not be kept */
} Keeper;

/* Layers come chunk by chunk of the batch: the first one makes room for all. */
static KeptActivation *find_or_add(Keeper *keeper, const Activation *activation)
{
    ActivationList *list = keeper->list;
    char name[ACTIVATION_NAME];
    snprintf(name, sizeof name, "activation.%s", activation->name);
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->items[i].name, name) == 0) return &list->items[i];
    if (memory_resize((void **)&list->items, list->count + 1, sizeof *list->items, "the activations", &keeper->error))
        return NULL;
    KeptActivation *item = &list->items[list->count];
    int64_t size = (int64_t)keeper->batch * activation->rows * activation->cols;
    *item = (KeptActivation){.values = memory_alloc(size, sizeof(float), "an activation", &keeper->error)};
    if (!item->values) return NULL;
    memcpy(item->name, name, sizeof name);
    item->tensor =
        (SafetensorsTensor){NULL, DTYPE_F32, 3, {keeper->batch, activation->rows, activation->cols}, item->values};
    list->count++;
    return item;
}

static void keep(void *context, const Activation *activation)
{
    Keeper *keeper = context;
    layer_names_add(&keeper->names, activation->name);
    if (keeper->error.status || fnmatch(keeper->pattern, activation->name, 0) != 0) return;
    KeptActivation *item = find_or_add(keeper, activation);
    int64_t image = (int64_t)activation->rows * activation->cols;
    if (item)
        memcpy(item->values + activation->first * image, activation->values,
               (size_t)(activation->images * image) * sizeof(float));
}

Status activations_trace(ActivationList *list, const ModelConfig *config, const float *weights, const ModelInput *input,
                         const char *pattern, Pool *pool, Error *error)
{
    *list = (ActivationList){0};
    Model *model = NULL;
    Keeper *keeper = memory_alloc(1, sizeof *keeper, "the activations", error);
    float *logits = memory_alloc(input->count, (size_t)config->num_classes * sizeof(float), "logits", error);
    Status status = error->status;
    if (!status) status = model_create(&model, config, input->count, MODEL_OBSERVE, pool, error);
    if (!status) {
        *keeper = (Keeper){.list = list, .pattern = pattern, .batch = input->count};
        model_set_weights(model, weights);
        model_observe(model, keep, keeper);
        model_forward(model, input, logits);
        status = keeper->error.status;
        if (status) *error = keeper->error;
        if (!status && list->count == 0) status = layer_names_none(&keeper->names, config, pattern, error);
    }
    for (int i = 0; i < list->count; i++) list->items[i].tensor.name = list->items[i].name;
    model_free(model);
    free(logits);
    free(keeper);
    return status;
}

void activations_free(ActivationList *list)
{
    for (int i = 0; i < list->count; i++) free(list->items[i].values);
    free(list->items);
    *list = (ActivationList){0};
}
