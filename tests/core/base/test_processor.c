#include <criterion/criterion.h>
#include <string.h>

#include "core/base/processor.h"

static const char *name_in(const char *cpuinfo)
{
    static char text[128];
    processor_name_from(cpuinfo, text, sizeof text);
    return text;
}

Test(processor, is_named_as_linux_names_it)
{
    cr_assert_str_eq(name_in("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 17\n"
                             "model name\t: AMD EPYC 9654 96-Core Processor\nstepping\t: 1\n"),
                     "AMD EPYC 9654 96-Core Processor");
}

Test(processor, of_arm_is_told_by_its_numbers)
{
    cr_assert_str_eq(name_in("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"), "Arm Neoverse V1");
    cr_assert_str_eq(name_in("CPU implementer\t: 0x99\nCPU part\t: 0x123"), "Arm core 0x99:0x123");
}

Test(processor, always_has_a_name)
{
    char text[64];
    cr_assert(name_in("")[0]);
    cr_assert(name_in("model name")[0]);
    processor_name(text, sizeof text);
    cr_assert(text[0]);
    processor_name(text, 4);
    cr_assert_lt(strlen(text), 4);
}
