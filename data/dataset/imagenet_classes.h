/* imagenet_classes.h: the 1,000 classes of ILSVRC2012, the ImageNet of papers.
 *
 * They have two orders: labels, 0 .. 999, are places among the sorted WordNet ids, in data sets and weights of everybody;
 * ILSVRC2012_ID, 1 .. 1000, is what the development kit's ground truth speaks of.
 *
 *     printf("%s", imagenet_class(282)->words);         // "tiger cat"
 */
#ifndef DATA_DATASET_IMAGENET_CLASSES_H
#define DATA_DATASET_IMAGENET_CLASSES_H

enum { IMAGENET_CLASSES = 1000 };

typedef struct ImagenetClass {
    int id; /* ILSVRC2012_ID */
    char wnid[10];
    const char *words; /* synonyms, the first of them the most used: "great white shark, white shark" */
} ImagenetClass;

const ImagenetClass *imagenet_class(int label);                /* NULL: there is no such label */
const ImagenetClass *imagenet_class_of_id(int id);             /* NULL: there is no such id */
const ImagenetClass *imagenet_class_of_wnid(const char *wnid); /* NULL: none of the 1,000 */

#endif
