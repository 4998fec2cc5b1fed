#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/model/params.h"
#include "core/model/weights.h"
#include "tools/info.h"

static void print_architecture(const ModelConfig *config)
{
    printf("  image     %d x %d, %d channels; %d classes\n", config->img_size, config->img_size, config->in_chans,
           config->num_classes);
    printf("  tokens    %s; splits", zoo_tokens_type_name(config->tokens_type));
    for (int i = 0; i < zoo_splits(config); i++)
        printf(" %d/%d/%d", config->splits[i].kernel, config->splits[i].stride, config->splits[i].padding);
    if (config->tokens_type != TOKENS_PATCH) printf("; %d wide", config->token_dim);
    printf("\n  backbone  %s; %d blocks of width %d", zoo_variant_name(config->variant), zoo_blocks(config),
           config->embed_dim);
    if (zoo_features(config) != config->embed_dim) printf(" growing to %d", zoo_features(config));
    printf(", %d heads, MLP ratio %g, %d tokens\n\n", config->num_heads, config->mlp_ratio, zoo_tokens(config));
}

static void print_row(const char *name, int tokens, int width, int64_t params, int64_t macs)
{
    char shape[32];
    snprintf(shape, sizeof shape, "%d x %d", tokens, width);
    printf("  %-28s %12s %12" PRId64 " %14" PRId64 "\n", name, shape, params, macs);
}

static int64_t layer_params(const ParamTable *table, const Layer *layer)
{
    size_t length = strlen(layer->name);
    int64_t sum = 0;
    for (int i = 0; i < table->count; i++) {
        const char *name = table->items[i].name;
        if (strncmp(name, layer->name, length) == 0 && name[length] == '.') sum += table->items[i].numel;
    }
    return sum;
}

static void print_layers(const ModelConfig *config, const ParamTable *table)
{
    printf("  %-28s %12s %12s %14s\n", "layer", "output", "parameters", "MACs");
    for (int i = 0; i < zoo_layers(config); i++) {
        Layer layer = zoo_layer(config, i);
        print_row(layer.name, layer.tokens, layer.width, layer_params(table, &layer), macs_total(layer.macs));
        if (i != zoo_splits(config) - 1) continue;
        /* Here the class token joins, and the positions are added. */
        print_row("cls_token", 1, config->embed_dim, params_find(table, "cls_token")->numel, 0);
        print_row("pos_embed", zoo_tokens(config), config->embed_dim, params_find(table, "pos_embed")->numel, 0);
    }
}

static void print_totals(const ModelConfig *config, const ParamTable *table)
{
    Macs macs = zoo_macs(config);
    double mb = (double)table->size * sizeof(float) * 1e-6;
    printf("\n  parameters  %" PRId64 ", of which %" PRId64 " are trained, in %d tensors\n", table->numel,
           table->trainable, table->count);
    printf("  MACs        %" PRId64 " = linear %" PRId64 " + attention %" PRId64 " + conv %" PRId64 "\n",
           macs_total(macs), macs.linear, macs.attention, macs.conv);
    printf("  memory      weights %.1f MB; with gradients, AdamW's two moments and EMA %.1f MB\n", mb, 5 * mb);
    printf("              on each of N ranks with zero: 1, which slices the moments: %.1f + %.1f / N MB\n", 3 * mb,
           2 * mb);
}

static void print_tensors(const ParamTable *table)
{
    printf("\n  %-46s %-20s %s\n", "tensor", "shape", "");
    for (int i = 0; i < table->count; i++) {
        const Param *param = &table->items[i];
        char shape[128];
        weights_shape_text(param->shape, param->ndim, shape, sizeof shape);
        printf("  %-46s %-20s %s\n", param->name, shape,
               !param->trainable ? "fixed"
               : param->decay    ? "trained, with weight decay"
                                 : "trained");
    }
}

/* ---- JSON */

static json_t *json_macs(Macs macs)
{
    return json_pack("{sI sI sI sI}", "linear", (json_int_t)macs.linear, "attention", (json_int_t)macs.attention,
                     "conv", (json_int_t)macs.conv, "total", (json_int_t)macs_total(macs));
}

static json_t *json_layers(const ModelConfig *config, const ParamTable *table)
{
    json_t *list = json_array();
    for (int i = 0; i < zoo_layers(config); i++) {
        Layer layer = zoo_layer(config, i);
        json_array_append_new(list, json_pack("{ss si si sI sI}", "name", layer.name, "tokens", layer.tokens, "width",
                                              layer.width, "parameters", (json_int_t)layer_params(table, &layer),
                                              "macs", (json_int_t)macs_total(layer.macs)));
    }
    return list;
}

static json_t *json_model(const ModelConfig *config, const ParamTable *table, bool layers)
{
    json_t *object =
        json_pack("{ss so so si si ss si si si sI sI si so so}", "kind", "model", "name", json_words(config->name),
                  "note", json_words(zoo_note(config)), "img_size", config->img_size, "num_classes",
                  config->num_classes, "tokens_type", zoo_tokens_type_name(config->tokens_type), "tokens",
                  zoo_tokens(config), "embed_dim", config->embed_dim, "blocks", zoo_blocks(config), "parameters",
                  (json_int_t)table->numel, "trained", (json_int_t)table->trainable, "tensors", table->count, "macs",
                  json_macs(zoo_macs(config)), "published_top1", json_figure(zoo_published_top1(config)));
    if (object && layers) json_object_set_new(object, "layers", json_layers(config, table));
    return object;
}

/* ---- */

static void print_line(const ModelConfig *config, const ParamTable *table)
{
    char top1[16] = "";
    double published = zoo_published_top1(config);
    if (!isnan(published)) snprintf(top1, sizeof top1, "%.1f", published);
    const char *note = zoo_note(config);
    printf("%-26s %10.2f %9.3f %7d %6d %7d %6d %6s%s%s\n", config->name, (double)table->numel * 1e-6,
           (double)macs_total(zoo_macs(config)) * 1e-9, zoo_tokens(config), config->embed_dim, zoo_blocks(config),
           config->num_heads, top1, note ? "  " : "", note ? note : "");
}

Status info_models(const InfoOptions *options, Error *error)
{
    json_t *list = json_array();
    Status status = STATUS_OK;
    if (!options->json)
        printf("%-26s %10s %9s %7s %6s %7s %6s %6s\n", "model", "parameters", "MACs", "tokens", "width", "blocks",
               "heads", "top-1");
    for (int i = 0; zoo_name(i) && !status; i++) {
        ModelConfig config;
        ParamTable table;
        status = zoo_find(zoo_name(i), &config, error);
        if (!status) status = params_build(&table, &config, error);
        if (status) break;
        if (options->json)
            json_array_append_new(list, json_model(&config, &table, false));
        else
            print_line(&config, &table);
        params_free(&table);
    }
    if (options->json && !status)
        json_print(list);
    else
        json_decref(list);
    if (!options->json && !status)
        printf("\nMillions of parameters, 10^9 MACs an image of 224 x 224 pixels; top-1 in %% on ImageNet, where the "
               "authors' repository gives it\n");
    return status;
}

Status info_model(const ModelConfig *config, const InfoOptions *options, Error *error)
{
    ParamTable table;
    Status status = params_build(&table, config, error);
    if (status) return status;
    if (options->json) {
        json_print(json_model(config, &table, true));
        params_free(&table);
        return STATUS_OK;
    }
    printf("%s: %.1f M parameters, %.3f G MACs\n", config->name, (double)table.numel * 1e-6,
           (double)macs_total(zoo_macs(config)) * 1e-9);
    const char *note = zoo_note(config);
    if (note) printf("  known as  %s\n", note);
    print_architecture(config);
    print_layers(config, &table);
    print_totals(config, &table);
    if (options->tensors) print_tensors(&table);
    params_free(&table);
    return STATUS_OK;
}
