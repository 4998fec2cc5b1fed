#include "core/model/embed.h"

#include <string.h>

#include "core/model/residual.h"

void embed_build(Embed *embed, ParamLookup *lookup, const ModelConfig *config)
{
    bool patch = config->tokens_type == TOKENS_PATCH;
    int last = patch ? 0 : MAX_SPLITS - 1;
    const SoftSplit *split = &config->splits[last];
    *embed = (Embed){.patches = zoo_tokens(config) - 1, .dim = config->embed_dim, .pixels = patch, .learned = patch};
    embed->split = patch ? split_image(config->in_chans, config->img_size, split->kernel, split->stride, split->padding)
                         : split_tokens(config->token_dim, zoo_split_side(config, last - 1), split->kernel,
                                        split->stride, split->padding);
    embed->source_size = (int64_t)embed->split.channels * embed->split.side * embed->split.side;
    embed->in = split_width(&embed->split);
    embed->project = find_linear(lookup, patch ? "patch_embed.proj" : "tokens_to_token.project", embed->in, embed->dim);
    embed->cls = find_offset(lookup, "cls_token");
    embed->position = find_offset(lookup, "pos_embed");
    embed->drop = config->drop;
}

void embed_carve_buffers(const Embed *embed, EmbedBuffers *buffers, Arena *arena, int images)
{
    int64_t rows = (int64_t)images * embed->patches;
    buffers->split = arena_floats(arena, (size_t)rows * (size_t)embed->in);
    buffers->dy = arena_floats(arena, (size_t)rows * (size_t)embed->dim);
    buffers->row_sums = arena_floats(arena, (size_t)images * (size_t)embed->dim);
    buffers->weight_sums = arena_floats(arena, weight_grads_partials(rows, &embed->project));
}

size_t embed_scratch(const Embed *embed)
{
    return (size_t)embed->patches * (size_t)embed->in;
}

typedef struct EmbedJob {
    const Embed *embed;
    const StepContext *step;
    const EmbedBuffers *buffers;
    TokenChunk chunk;
    bool add;
    const float *source;
    float *out; /* or dout */
    float *dsource;
} EmbedJob;

static void embed_forward_task(void *context, int64_t image, int thread)
{
    const EmbedJob *job = context;
    const Embed *embed = job->embed;
    const StepContext *step = job->step;
    int dim = embed->dim, tokens = 1 + embed->patches;
    DropPathMask all = drop_path_none(tokens);
    float *rows = step_scratch(step, thread), *out = job->out + image * tokens * dim;
    split_rows(&embed->split, job->source + image * embed->source_size, 0, embed->patches, rows, embed->in);
    step_charge(step, thread, PHASE_SPLIT);
    linear_forward(step, &embed->project, embed->patches, rows, embed->in, out + dim, dim);
    step->kernels->add_bias(embed->patches, dim, linear_bias(step, &embed->project), out + dim, dim);
    memcpy(out, step->weights + embed->cls, (size_t)dim * sizeof(float));
    step->kernels->add_bias(1, tokens * dim, step->weights + embed->position, out, tokens * dim);
    dropout_rows(step, 0, SITE_OUTPUT, embed->drop, &all, (job->chunk.first + image) * tokens, tokens, dim, out);
}

void embed_forward(const Embed *embed, const StepContext *step, TokenChunk chunk, const float *source, float *out)
{
    EmbedJob job = {.embed = embed, .step = step, .chunk = chunk, .source = source, .out = out};
    step_run(step, chunk.images, embed_forward_task, &job, PHASE_LINEARS);
}

/* Rows to their places for the weight gradient, and this image's share of the bias. */
static void rows_task(void *context, int64_t image, int thread)
{
    (void)thread;
    const EmbedJob *job = context;
    const Embed *embed = job->embed;
    const StepContext *step = job->step;
    int dim = embed->dim, tokens = 1 + embed->patches;
    DropPathMask all = drop_path_none(tokens);
    float *dout = job->out + image * tokens * dim, *sums = job->buffers->row_sums + image * dim;
    float *dy = job->buffers->dy + image * embed->patches * dim;
    dropout_rows(step, 0, SITE_OUTPUT, embed->drop, &all, (job->chunk.first + image) * tokens, tokens, dim, dout);
    memcpy(dy, dout + dim, (size_t)embed->patches * (size_t)dim * sizeof(float));
    memset(sums, 0, (size_t)dim * sizeof(float));
    step->kernels->column_sums(embed->patches, dim, dy, dim, sums);
    split_rows(&embed->split, job->source + image * embed->source_size, 0, embed->patches,
               job->buffers->split + image * embed->patches * embed->in, embed->in);
}

static void source_task(void *context, int64_t image, int thread)
{
    const EmbedJob *job = context;
    const Embed *embed = job->embed;
    float *dsplit = step_scratch(job->step, thread);
    linear_backward(job->step, &embed->project, embed->patches, job->buffers->dy + image * embed->patches * embed->dim,
                    embed->dim, 0.0f, dsplit, embed->in);
    step_charge(job->step, thread, PHASE_LINEARS);
    split_gather(&embed->split, dsplit, embed->in, 0, embed->split.side * embed->split.side,
                 job->dsource + image * embed->source_size);
}

void embed_backward(const Embed *embed, const StepContext *step, const EmbedBuffers *buffers, TokenChunk chunk,
                    bool add, const float *source, float *dout, float *dsource)
{
    EmbedJob job = {embed, step, buffers, chunk, add, source, dout, dsource};
    int64_t stride = (int64_t)(1 + embed->patches) * embed->dim;
    int64_t rows = (int64_t)chunk.images * embed->patches;
    WeightGrad grad = {&embed->project, rows, stored_of(buffers->dy), embed->dim, stored_of(buffers->split),
                       embed->in,       NULL};
    PartialSum bias = {.count = embed->dim, .grad = embed->project.bias};
    PartialSum tokens[] = {{.count = embed->dim, .grad = embed->cls}, {.count = stride, .grad = embed->position}};
    step_run(step, chunk.images, rows_task, &job, PHASE_SPLIT);
    partial_sums(step, dout, chunk.images, stride, tokens, embed->learned ? 2 : 1, add, step->grads);
    partial_sums(step, buffers->row_sums, chunk.images, embed->dim, &bias, 1, add, step->grads);
    weight_grads(step, &grad, 1, add, buffers->weight_sums);
    if (!embed->pixels) step_run(step, chunk.images, source_task, &job, PHASE_SPLIT);
}
