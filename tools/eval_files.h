/* eval_files.h: what t2t eval writes beside its figures: the confusion matrix, and what the model says of each image.
 *
 * Names of classes are any bytes: what is not printable becomes \xNN, and quotes are quoted.
 */
#ifndef TOOLS_EVAL_FILES_H
#define TOOLS_EVAL_FILES_H

#include <stdio.h>

#include "dist/train/evaluate.h"

typedef enum PredictionFormat { PREDICTIONS_CSV, PREDICTIONS_JSON_LINES } PredictionFormat;

/* By the suffix, .csv or .jsonl; another is STATUS_USAGE. */
Status prediction_format(const char *path, PredictionFormat *format, Error *error);

/* Opened before the work, so that a path that cannot be written is told then. Closing tells what was not written; it
 * accepts NULL. */
Status eval_file_open(FILE **out, const char *path, Error *error);
Status eval_file_close(FILE *out, const char *path, Error *error);

/* The data set's name of a class, as printable text; "class 12" beyond its classes. Returns `text`. */
const char *eval_class_name(const Dataset *dataset, int class, char *text, size_t size);

/* A heading and one row for each class of the data set; columns are all classes of the model. */
void write_confusion(FILE *out, const Dataset *dataset, int classes, const int64_t *confusion);

/* A line for each image that could be used, in the split's order: its number, the shard's file and the key in it, label,
 * and the likeliest classes with their probabilities. predictions: (images of the split) */
void write_predictions(FILE *out, PredictionFormat format, const Dataset *dataset, const Prediction *predictions);

#endif
