/* t2t trace: one forward and backward on given tensors, for comparing with another implementation. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/memory.h"
#include "core/model/weights.h"
#include "dist/train/step.h"
#include "tools/args.h"
#include "tools/image_input.h"
#include "tools/inference_model.h"
#include "tools/tools.h"
#include "tools/trace_activations.h"
#include "tools/trace_input.h"

static const char USAGE[] =
    "usage: t2t trace --weights FILE --input FILE --output FILE [--option value ...]\n\n"
    "Runs a model once, in evaluation mode (no dropout, no drop path), and writes what came out, as safetensors.\n\n";

typedef struct Arguments {
    Settings settings;
    const char *weights, *input, *output, *activations;
    int threads;
    char **images; /* what --images names */
    int image_count;
} Arguments;

static Status trace_parse(int argc, char **argv, Arguments *arguments, Operands *operands, Error *error)
{
    bool images = false;
    const Arg args[] = {
        ARG_MODEL(&arguments->settings, "the published model of weights that do not say theirs"),
        ARG_CONFIG(&arguments->settings, "or the architecture keys of a configuration file"),
        ARG_SET(&arguments->settings, "a change to the model; may be repeated"),
        ARG_TEXT("weights", "FILE", &arguments->weights,
                 "safetensors with the official names; what t2t train wrote knows its model"),
        ARG_TEXT("input", "FILE", &arguments->input,
                 "safetensors: `input` F32 (B, 3, H, W), normalised; for the gradients also `target` I64 (B) or "
                 "`soft_target` "
                 "F32 (B, classes). Labels are smoothed by the configuration's `smoothing`."),
        ARG_FLAG(
            "images", &images,
            "FILE... instead of --input: image files, through the evaluation pipeline; writes `pixels` U8 (B, H, W, 3) "
            "too"),
        ARG_TEXT(
            "output", "FILE", &arguments->output,
            "`logits`; with targets also `loss`, the mean over the batch, and `grad.NAME` for each trainable tensor"),
        ARG_TEXT("activations", "PATTERN", &arguments->activations,
                 "also writes `activation.LAYER` (B, rows, columns) for each layer that matches, such as "
                 "'tokens_to_token.*' or 'blocks.3.attn.qkv'; a pattern that matches nothing lists the layers"),
        ARG_INT("threads", "N", &arguments->threads, "(default, and at most: the cores that the process may use)", 0,
                65536),
        {0},
    };
    const CommandLine line = {.name = "t2t trace", .usage = USAGE, .args = args, .most_operands = -1};
    Status status = args_parse(&line, argc, argv, operands, error);
    if (status || operands->helped) return status;
    if (operands->count && !images)
        return error_set(error, STATUS_USAGE, "'%s' is not expected; see `t2t trace --help`", operands->items[0]);
    arguments->images = operands->items;
    arguments->image_count = operands->count;
    if (!arguments->weights || !arguments->output)
        return error_set(error, STATUS_USAGE, "--weights and --output are needed");
    if (!arguments->input == !arguments->image_count)
        return error_set(error, STATUS_USAGE, "either --input FILE or --images FILE... is needed");
    return STATUS_OK;
}

/* ---- input */

typedef struct Trace {
    Config config;
    Pool *pool;
    TrainStep step; /* to the gradients with targets, else to the logits */
    TraceInput input;
    float loss;
    uint8_t *pixels; /* (B, H, W, 3), or NULL */
    ActivationList activations;
} Trace;

static Status read_pictures(Trace *trace, const Arguments *arguments, Error *error)
{
    const int64_t side = trace->config.model.img_size, size = 3 * side * side;
    Pictures pictures;
    trace->input.batch = arguments->image_count;
    trace->input.images = memory_alloc(trace->input.batch, (size_t)size * sizeof(float), "the images", error);
    if (!trace->input.images) return error->status;
    trace->pixels = memory_alloc(trace->input.batch, (size_t)size, "the images' pixels", error);
    if (!trace->pixels) return error->status;
    Status status = pictures_create(&pictures, &trace->config.pipeline, error);
    for (int i = 0; !status && i < trace->input.batch; i++)
        status = pictures_read(&pictures, arguments->images[i], trace->input.images + i * size,
                               trace->pixels + i * size, error);
    pictures_free(&pictures);
    return status;
}

/* ---- running */

static Status trace_run(Trace *trace, const Arguments *arguments, Error *error)
{
    TrainStep *step = &trace->step;
    TrainStepSetup setup = {.config = &trace->config,
                            .kind = trace->input.targets ? STEP_GRADIENTS : STEP_FORWARD,
                            .micro_batch = trace->input.batch};
    WeightsReport report = {0};
    Status status = pool_create(&trace->pool, pool_useful_threads(arguments->threads), error);
    setup.pool = trace->pool;
    if (!status) status = train_step_create(step, &setup, error);
    if (status) return status;
    params_init(step->table, 0, step->vectors.weights);
    status = weights_load(arguments->weights, step->table, step->vectors.weights, &report, error);
    if (status) return status;
    if (report.head_dropped)
        return error_set(error, STATUS_DATA,
                         "%s: a head of %" PRId64 " classes, but the model has %d; add --set num_classes=%" PRId64,
                         arguments->weights, report.file_classes, trace->config.model.num_classes, report.file_classes);
    model_set_weights(step->model, step->vectors.weights);
    const StepBatch batch = {.input = {.count = trace->input.batch, .images = trace->input.images},
                             .targets = trace->input.targets,
                             .scale = 1.0 / trace->input.batch};
    if (batch.targets)
        trace->loss = (float)train_step_gradients(step, &batch);
    else
        model_forward(step->model, &batch.input, step->logits);
    if (!arguments->activations) return STATUS_OK;
    return activations_trace(&trace->activations, &trace->config.model, step->vectors.weights, &batch.input,
                             arguments->activations, trace->pool, error);
}

static Status write_output(const Trace *trace, const char *path, Error *error)
{
    const ParamTable *table = trace->step.table;
    const int64_t side = trace->config.model.img_size;
    SafetensorsTensor *tensors =
        memory_alloc(table->count + 3 + trace->activations.count, sizeof *tensors, "the trace", error);
    char(*names)[sizeof table->items->name + 8] = memory_alloc(table->count, sizeof *names, "the trace", error);
    Status status = STATUS_FAILED;
    int count = 0;
    if (!tensors || !names) goto free_all;
    tensors[count++] = (SafetensorsTensor){
        "logits", DTYPE_F32, 2, {trace->input.batch, trace->config.model.num_classes}, trace->step.logits};
    if (trace->pixels)
        tensors[count++] =
            (SafetensorsTensor){"pixels", DTYPE_U8, 4, {trace->input.batch, side, side, 3}, trace->pixels};
    if (trace->input.targets) tensors[count++] = (SafetensorsTensor){"loss", DTYPE_F32, 1, {1}, &trace->loss};
    for (int i = 0; trace->input.targets && i < table->count; i++) {
        const Param *param = &table->items[i];
        if (!param->trainable) continue;
        snprintf(names[i], sizeof names[i], "grad.%s", param->name);
        SafetensorsTensor tensor = {
            .name = names[i], .dtype = DTYPE_F32, .ndim = param->ndim, .data = trace->step.grads + param->offset};
        memcpy(tensor.shape, param->shape, sizeof param->shape);
        tensors[count++] = tensor;
    }
    for (int i = 0; i < trace->activations.count; i++) tensors[count++] = trace->activations.items[i].tensor;
    status = safetensors_write(path, tensors, count, NULL, error);
free_all:
    free(names);
    free(tensors);
    return status;
}

static void trace_free(Trace *trace)
{
    activations_free(&trace->activations);
    train_step_free(&trace->step);
    pool_free(trace->pool);
    free(trace->pixels);
    trace_input_free(&trace->input);
}

Status tool_trace(int argc, char **argv, Error *error)
{
    Arguments arguments = {0};
    Operands operands;
    Trace trace = {0};
    Status status = trace_parse(argc, argv, &arguments, &operands, error);
    if (status || operands.helped) return status;
    status = weights_configuration(arguments.weights, &arguments.settings, &trace.config, error);
    if (!status)
        status = arguments.input ? trace_input_read(&trace.input, arguments.input, &trace.config.model,
                                                    trace.config.pipeline.smoothing, error)
                                 : read_pictures(&trace, &arguments, error);
    if (!status) status = trace_run(&trace, &arguments, error);
    if (!status) status = write_output(&trace, arguments.output, error);
    trace_free(&trace);
    return status;
}
