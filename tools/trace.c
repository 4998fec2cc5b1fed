/* t2t trace: one forward and backward on given tensors, for comparing with another implementation. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/optim/loss.h"
#include "core/model/model.h"
#include "core/model/weights.h"
#include "dist/config/config.h"
#include "tools/options.h"
#include "tools/image_input.h"
#include "tools/tools.h"

static const char USAGE[] =
    "usage: t2t trace --model NAME --weights FILE --input FILE --output FILE [--option value ...]\n\n"
    "Runs a model once, in evaluation mode (no dropout, no drop path), and writes what came out, as safetensors.\n\n"
    "  --model NAME       a published model\n"
    "  --config FILE      or the architecture keys of a configuration file\n"
    "  --set key=value    a change to the model; may be repeated\n"
    "  --weights FILE     safetensors with the official names\n"
    "  --input FILE       safetensors: `input` F32 (B, 3, H, W), normalised; for the gradients also `target` I64 (B) "
    "or\n"
    "                     `soft_target` F32 (B, classes). Labels are smoothed by the configuration's `smoothing`.\n"
    "  --images FILE...   instead of --input: image files, through the evaluation pipeline; writes `pixels` U8 (B, H, "
    "W, 3) "
    "too\n"
    "  --output FILE      `logits`; with targets also `loss`, the mean over the batch, and `grad.NAME` for each "
    "trainable\n"
    "                     tensor\n"
    "  --threads N        (default: the processors that the process may use)\n";

typedef struct Arguments {
    Settings settings;
    const char *weights, *input, *output;
    int threads;
    char **images; /* what --images names */
    int image_count;
    bool help;
} Arguments;

static Status parse(int argc, char **argv, Arguments *arguments, Error *error)
{
    static const struct option OPTIONS[] = {
        {"model", required_argument, NULL, 'm'},  {"config", required_argument, NULL, 'c'},
        {"set", required_argument, NULL, 's'},    {"weights", required_argument, NULL, 'w'},
        {"input", required_argument, NULL, 'i'},  {"images", no_argument, NULL, 'f'},
        {"output", required_argument, NULL, 'o'}, {"threads", required_argument, NULL, 't'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    bool images = false;
    for (int option; (option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        Status status = STATUS_OK;
        switch (option) {
        case 'm':
        case 's':
        case 'c':
            status = settings_option(&arguments->settings, option, optarg, error);
            break;
        case 'w':
            arguments->weights = optarg;
            break;
        case 'i':
            arguments->input = optarg;
            break;
        case 'f':
            images = true;
            break;
        case 'o':
            arguments->output = optarg;
            break;
        case 't':
            status = option_int("threads", optarg, 0, 65536, &arguments->threads, error);
            break;
        case 'h':
            arguments->help = true;
            return STATUS_OK;
        default:
            return error_set(error, STATUS_USAGE, "see `t2t trace --help`");
        }
        if (status) return status;
    }
    if (images) {
        arguments->images = argv + optind;
        arguments->image_count = argc - optind;
    } else if (optind < argc) {
        return error_set(error, STATUS_USAGE, "unexpected argument '%s'", argv[optind]);
    }
    if (!arguments->settings.model[0] && !arguments->settings.config)
        return error_set(error, STATUS_USAGE, "which model? --model NAME or --config FILE");
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
    Model *model;
    int batch;
    float *weights, *grads;  /* flat vectors; grads only with targets */
    float *images, *targets; /* targets: NULL when the input has none */
    float *logits, *dlogits;
    float loss;
    uint8_t *pixels; /* (B, H, W, 3), or NULL */
} Trace;

static float *allocate(int64_t count, Error *error)
{
    float *out = calloc((size_t)count, sizeof *out);
    if (!out) error_set(error, STATUS_FAILED, "out of memory for %lld floats", (long long)count);
    return out;
}

static Status check_shape(const Safetensors *file, const SafetensorsEntry *entry, Dtype dtype, int ndim,
                          const int64_t *shape, Error *error)
{
    bool right = entry->dtype == dtype && entry->ndim == ndim;
    for (int i = 0; right && i < ndim; i++) right = entry->shape[i] == shape[i];
    if (right) return STATUS_OK;
    char found[160] = "", expected[160] = "";
    for (int i = 0; i < entry->ndim; i++)
        snprintf(found + strlen(found), sizeof found - strlen(found), "%s%lld", i ? ", " : "",
                 (long long)entry->shape[i]);
    for (int i = 0; i < ndim; i++)
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%s%lld", i ? ", " : "",
                 (long long)shape[i]);
    return error_set(error, STATUS_DATA, "%s: '%s' is %s (%s), expected %s (%s)", file->path, entry->name,
                     dtype_name(entry->dtype), found, dtype_name(dtype), expected);
}

static Status read_images(Trace *trace, const Safetensors *file, Error *error)
{
    const ModelConfig *model = &trace->config.model;
    const SafetensorsEntry *entry = safetensors_find(file, "input");
    if (!entry) return error_set(error, STATUS_DATA, "%s: there is no tensor 'input'", file->path);
    int64_t shape[] = {entry->shape[0], model->in_chans, model->img_size, model->img_size};
    Status status = check_shape(file, entry, DTYPE_F32, 4, shape, error);
    if (status) return status;
    if (shape[0] < 1 || shape[0] > 1 << 16)
        return error_set(error, STATUS_DATA, "%s: 'input' has %lld images; 1 to 65536 can be run", file->path,
                         (long long)shape[0]);
    trace->batch = (int)shape[0];
    trace->images = allocate(entry->numel, error);
    return trace->images ? safetensors_read_f32(file, entry, trace->images, error) : STATUS_FAILED;
}

static Status read_labels(Trace *trace, const Safetensors *file, const SafetensorsEntry *entry, Error *error)
{
    int classes = trace->config.model.num_classes;
    int64_t shape[] = {trace->batch};
    Status status = check_shape(file, entry, DTYPE_I64, 1, shape, error);
    if (status) return status;
    int64_t *labels = calloc((size_t)trace->batch, sizeof *labels);
    if (!labels) return error_set(error, STATUS_FAILED, "out of memory for %d labels", trace->batch);
    status = safetensors_read(file, entry, labels, error);
    for (int b = 0; !status && b < trace->batch; b++)
        if (labels[b] < 0 || labels[b] >= classes)
            status = error_set(error, STATUS_DATA, "%s: target %d is %lld; the model has classes 0 .. %d", file->path,
                               b, (long long)labels[b], classes - 1);
    if (!status) loss_smooth_targets(labels, trace->batch, classes, trace->config.pipeline.smoothing, trace->targets);
    free(labels);
    return status;
}

static Status read_targets(Trace *trace, const Safetensors *file, Error *error)
{
    int classes = trace->config.model.num_classes;
    const SafetensorsEntry *labels = safetensors_find(file, "target"), *soft = safetensors_find(file, "soft_target");
    if (!labels && !soft) return STATUS_OK;
    if (labels && soft)
        return error_set(error, STATUS_DATA, "%s: both 'target' and 'soft_target'; one is needed", file->path);
    trace->targets = allocate((int64_t)trace->batch * classes, error);
    if (!trace->targets) return STATUS_FAILED;
    if (labels) return read_labels(trace, file, labels, error);
    int64_t shape[] = {trace->batch, classes};
    Status status = check_shape(file, soft, DTYPE_F32, 2, shape, error);
    return status ? status : safetensors_read_f32(file, soft, trace->targets, error);
}

static Status read_input(Trace *trace, const char *path, Error *error)
{
    Safetensors file = {0};
    Status status = safetensors_open(&file, path, error);
    if (status) return status;
    status = read_images(trace, &file, error);
    if (!status) status = read_targets(trace, &file, error);
    safetensors_close(&file);
    return status;
}

static Status read_pictures(Trace *trace, const Arguments *arguments, Error *error)
{
    const int64_t side = trace->config.model.img_size, size = 3 * side * side;
    Pictures pictures;
    trace->batch = arguments->image_count;
    trace->images = allocate(trace->batch * size, error);
    trace->pixels = calloc((size_t)trace->batch, (size_t)size);
    if (!trace->images || !trace->pixels)
        return error_set(error, STATUS_FAILED, "out of memory for %d images", trace->batch);
    Status status = pictures_create(&pictures, &trace->config.pipeline, error);
    for (int i = 0; !status && i < trace->batch; i++)
        status =
            pictures_read(&pictures, arguments->images[i], trace->images + i * size, trace->pixels + i * size, error);
    pictures_free(&pictures);
    return status;
}

/* ---- running */

static Status run(Trace *trace, const Arguments *arguments, Error *error)
{
    const ModelConfig *config = &trace->config.model;
    ModelMode mode = trace->targets ? MODEL_TRAIN : MODEL_EVAL;
    int64_t outputs = (int64_t)trace->batch * config->num_classes;
    WeightsReport report = {0};
    Status status = pool_create(&trace->pool, arguments->threads, error);
    if (!status) status = model_create(&trace->model, config, trace->batch, mode, trace->pool, error);
    if (status) return status;
    const ParamTable *table = model_params(trace->model);
    trace->weights = allocate(table->size, error);
    trace->logits = allocate(outputs, error);
    trace->dlogits = allocate(outputs, error);
    if (trace->targets) trace->grads = allocate(table->size, error);
    if (error->status) return error->status;
    params_init(table, config, 0, trace->weights);
    status = weights_load(arguments->weights, table, trace->weights, &report, error);
    if (status) return status;
    if (report.head_dropped)
        return error_set(
            error, STATUS_DATA, "%s: a head of %lld classes, but the model has %d; add --set num_classes=%lld",
            arguments->weights, (long long)report.file_classes, config->num_classes, (long long)report.file_classes);
    ModelInput input = {.count = trace->batch, .images = trace->images};
    model_set_weights(trace->model, trace->weights);
    model_forward(trace->model, &input, trace->logits);
    if (!trace->targets) return STATUS_OK;
    trace->loss = (float)loss_soft_target(trace->logits, trace->targets, trace->batch, config->num_classes,
                                          1.0 / trace->batch, trace->dlogits);
    model_backward(trace->model, trace->dlogits, trace->grads, false, NULL, NULL);
    return STATUS_OK;
}

static Status write_output(const Trace *trace, const char *path, Error *error)
{
    const ParamTable *table = model_params(trace->model);
    const int64_t side = trace->config.model.img_size;
    SafetensorsTensor *tensors = calloc((size_t)table->count + 3, sizeof *tensors);
    char(*names)[sizeof table->items->name + 8] = calloc((size_t)table->count, sizeof *names);
    Status status = STATUS_FAILED;
    int count = 0;
    if (!tensors || !names) {
        error_set(error, STATUS_FAILED, "out of memory for %d names", table->count);
        goto free_all;
    }
    tensors[count++] =
        (SafetensorsTensor){"logits", DTYPE_F32, 2, {trace->batch, trace->config.model.num_classes}, trace->logits};
    if (trace->pixels)
        tensors[count++] = (SafetensorsTensor){"pixels", DTYPE_U8, 4, {trace->batch, side, side, 3}, trace->pixels};
    if (trace->targets) tensors[count++] = (SafetensorsTensor){"loss", DTYPE_F32, 1, {1}, &trace->loss};
    for (int i = 0; trace->targets && i < table->count; i++) {
        const Param *param = &table->items[i];
        if (!param->trainable) continue;
        snprintf(names[i], sizeof names[i], "grad.%s", param->name);
        SafetensorsTensor tensor = {
            .name = names[i], .dtype = DTYPE_F32, .ndim = param->ndim, .data = trace->grads + param->offset};
        memcpy(tensor.shape, param->shape, sizeof param->shape);
        tensors[count++] = tensor;
    }
    status = safetensors_write(path, tensors, count, NULL, error);
free_all:
    free(names);
    free(tensors);
    return status;
}

static void trace_free(Trace *trace)
{
    model_free(trace->model);
    pool_free(trace->pool);
    free(trace->weights);
    free(trace->grads);
    free(trace->images);
    free(trace->pixels);
    free(trace->targets);
    free(trace->logits);
    free(trace->dlogits);
}

Status tool_trace(int argc, char **argv, Error *error)
{
    Arguments arguments = {0};
    Trace trace = {0};
    Status status = parse(argc, argv, &arguments, error);
    if (!status && arguments.help) {
        fputs(USAGE, stdout);
        return STATUS_OK;
    }
    if (!status) status = settings_load(&arguments.settings, &trace.config, error);
    if (!status)
        status =
            arguments.input ? read_input(&trace, arguments.input, error) : read_pictures(&trace, &arguments, error);
    if (!status) status = run(&trace, &arguments, error);
    if (!status) status = write_output(&trace, arguments.output, error);
    trace_free(&trace);
    return status;
}
