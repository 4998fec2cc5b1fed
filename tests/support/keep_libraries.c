/* Sanitizer builds only: libraries stay loaded, so that LSan can name those that leak (lsan.supp). MPI unloads its
 * components when it ends. */
#include <dlfcn.h>

__attribute__((visibility("default"))) int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
