/* The table of ILSVRC2012's classes. */
#include <criterion/criterion.h>
#include <string.h>

#include "data/dataset/imagenet_classes.h"

Test(imagenet_classes, labels_are_places_among_the_sorted_wordnet_ids)
{
    bool ids[IMAGENET_CLASSES + 1] = {0};
    for (int label = 0; label < IMAGENET_CLASSES; label++) {
        const ImagenetClass *class = imagenet_class(label);
        cr_assert(strlen(class->wnid) == 9 && class->wnid[0] == 'n' && class->words[0], "%d", label);
        if (label > 0) cr_assert_lt(strcmp(imagenet_class(label - 1)->wnid, class->wnid), 0, "%d", label);
        cr_assert(class->id >= 1 && class->id <= IMAGENET_CLASSES && !ids[class->id], "%d", label);
        ids[class->id] = true;
        cr_assert_eq(imagenet_class_of_id(class->id), class);
        cr_assert_eq(imagenet_class_of_wnid(class->wnid), class);
    }
}

Test(imagenet_classes, some_that_everybody_knows)
{
    static const struct {
        int label, id;
        const char *wnid, *words;
    } KNOWN[] = {
        {0, 449, "n01440764", "tench, Tinca tinca"},
        {65, 490, "n01751748", "sea snake"},
        {207, 125, "n02099601", "golden retriever"},
        {278, 1, "n02119789", "kit fox, Vulpes macrotis"},
        {543, 1000, "n03255030", "dumbbell"},
        {970, 361, "n09193705", "alp"},
        {999, 889, "n15075141", "toilet tissue, toilet paper, bathroom tissue"},
    };
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
        const ImagenetClass *class = imagenet_class(KNOWN[i].label);
        cr_assert_eq(class->id, KNOWN[i].id, "%s", class->wnid);
        cr_assert_str_eq(class->wnid, KNOWN[i].wnid);
        cr_assert_str_eq(class->words, KNOWN[i].words);
    }
}

Test(imagenet_classes, what_is_not_there_is_NULL)
{
    cr_assert_null(imagenet_class(-1));
    cr_assert_null(imagenet_class(IMAGENET_CLASSES));
    cr_assert_null(imagenet_class_of_id(0));
    cr_assert_null(imagenet_class_of_id(IMAGENET_CLASSES + 1));
    cr_assert_null(imagenet_class_of_wnid("n00000000"));
    cr_assert_null(imagenet_class_of_wnid("entity"));
}
