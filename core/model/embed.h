/* embed.h: from the last soft split (or a ViT's patches) to the backbone's tokens. Internal to core/.
 *
 *     out[0]     = drop(cls_token + position[0])
 *     out[1 + i] = drop(project(split(source))[i] + position[1 + i])
 */
#ifndef CORE_MODEL_EMBED_H
#define CORE_MODEL_EMBED_H

#include "core/model/t2t_layer.h"

typedef struct EmbedBuffers { /* for one chunk */
    float *split, *dy;        /* (R, in), (R, dim) */
    float *row_sums;          /* (images, dim) */
    float *weight_sums;
} EmbedBuffers;

typedef struct Embed {
    int patches, in, dim; /* patches: tokens without the class token */
    bool pixels;
    bool learned; /* positions are trained */
    SplitShape split;
    int64_t source_size;
    Linear project;
    int64_t cls, position;
    double drop;
} Embed;

void embed_build(Embed *embed, ParamLookup *lookup, const ModelConfig *config);
void embed_carve_buffers(const Embed *embed, EmbedBuffers *buffers, Arena *arena, int images);
size_t embed_scratch(const Embed *embed);

/* source: (images, source_size) of the chunk; out: (images, 1 + patches, dim) of the chunk */
void embed_forward(const Embed *embed, const StepContext *step, TokenChunk chunk, const float *source, float *out);
/* dout as out; dsource is not written when the source is pixels. */
void embed_backward(const Embed *embed, const StepContext *step, const EmbedBuffers *buffers, TokenChunk chunk,
                    bool add, const float *source, float *dout, float *dsource);

#endif
