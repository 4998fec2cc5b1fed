/* visualize_pages.h: the pictures of one image, drawn while its forward pass goes on.
 *
 *     pages_create(&pages, &config, "blocks.3", error);
 *     pages_begin(&pages, pixels);                    // for each image
 *     model_observe(model, pages_take, &pages);
 *     model_forward(model, &input, logits);
 *     pages_write(&pages, "out/cat", error);          // out/cat.attention.png and so on
 */
#ifndef TOOLS_VISUALIZE_PAGES_H
#define TOOLS_VISUALIZE_PAGES_H

#include "core/model/observe.h"
#include "tools/heat_map.h"
#include "tools/layer_names.h"

enum { MAX_FEATURE_LAYERS = 256 };

typedef struct FeaturePage {
    char layer[LAYER_NAME];
    TilePage page;
} FeaturePage;

typedef struct Pages {
    const ModelConfig *config;
    const char *pattern;  /* of layers whose channels are drawn */
    const uint8_t *photo; /* (S, S, 3) */
    TilePage attention, rollout, tokens;
    FeaturePage features[MAX_FEATURE_LAYERS];
    int feature_count;
    LayerNames names;
    int block;      /* the next one with attention */
    float *weights; /* (heads, T, T) */
    float *rolled;  /* (T, T) */
    float *scratch; /* (T, T) */

    Error error; /* of the first page that pages_take could not draw */
} Pages;

/* Borrows config and pattern ("": no layer). */
Status pages_create(Pages *pages, const ModelConfig *config, const char *pattern, Error *error);
void pages_free(Pages *pages); /* accepts a zeroed one */

void pages_begin(Pages *pages, const uint8_t *photo);             /* borrows the image (S, S, 3) until pages_write */
void pages_take(void *pages, const Activation *activation);       /* an ActivationTake */
Status pages_write(Pages *pages, const char *name, Error *error); /* STATUS_USAGE when the pattern named no layer */

/* FOLDER/positions.png: of each position a tile with its embedding's cosine similarity to that of every other. */
Status positions_write(const ParamTable *table, const float *weights, const char *folder, Error *error);

#endif
