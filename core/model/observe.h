/* observe.h: what a model computes on its way, tensor by tensor, under the names of the official code's modules: for
 * `t2t trace --activations` and `t2t visualize`.
 *
 *     model_create(&model, &config, batch, MODEL_OBSERVE, pool, error);
 *     model_observe(model, take, &context);
 *     model_forward(model, &input, logits);       // calls take(context, &activation) again and again
 *
 * In the order of the forward pass, a chunk of the batch at a time; of each chunk (L counts layers and blocks):
 *
 *     tokens_to_token.soft_split0, 1, 2        (tokens, C k k): torch's Unfold, transposed
 *     tokens_to_token.attentionL.attn.qkv      (tokens, 3 token_dim); the performer's is tokens_to_token.attentionL.kqv
 *     tokens_to_token.attentionL               (tokens, token_dim)
 *     pos_drop                                 (1 + patches, embed_dim): class token, projected patches, positions
 *     blocks.L.attn.qkv                        (1 + patches, 3 dim)
 *     blocks.L.mlp.fc1                         (1 + patches, hidden), before GELU
 *     blocks.L                                 (1 + patches, dim)
 *
 * A plain ViT has no tokens_to_token; a transition of the dense model is blocks.L alone.
 */
#ifndef CORE_MODEL_OBSERVE_H
#define CORE_MODEL_OBSERVE_H

#include "core/model/model.h"

typedef struct Activation {
    const char *name;
    int first, images;   /* of the batch */
    int rows, cols;      /* of each image */
    const float *values; /* (images, rows, cols); until the call returns */
} Activation;

typedef void (*ActivationTake)(void *context, const Activation *activation);

/* From now on model_forward tells `take` what it computes; NULL: no longer. The model's mode must be MODEL_OBSERVE.
 * Calls come from the thread that runs model_forward. */
void model_observe(Model *model, ActivationTake take, void *context);

#endif
