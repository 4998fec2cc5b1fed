#include "data/dataset/imagenet_classes.h"

#include <stdlib.h>
#include <string.h>

static const ImagenetClass CLASSES[IMAGENET_CLASSES] = {
#include "data/dataset/imagenet_classes.inc"
};

const ImagenetClass *imagenet_class(int label)
{
    return label >= 0 && label < IMAGENET_CLASSES ? &CLASSES[label] : NULL;
}

const ImagenetClass *imagenet_class_of_id(int id)
{
    for (int label = 0; label < IMAGENET_CLASSES; label++)
        if (CLASSES[label].id == id) return &CLASSES[label];
    return NULL;
}

static int compare_wnid(const void *wnid, const void *class)
{
    return strcmp(wnid, ((const ImagenetClass *)class)->wnid);
}

const ImagenetClass *imagenet_class_of_wnid(const char *wnid)
{
    return bsearch(wnid, CLASSES, IMAGENET_CLASSES, sizeof CLASSES[0], compare_wnid);
}
