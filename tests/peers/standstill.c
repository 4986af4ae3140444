// Preloaded into a gateway: before one in a hundred reads of the tap its thread stands still for 15 ms, as on a machine that has others to serve.  Where a turn's clock was read before that,
// the frames are later than it says.
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>

ssize_t readv(int fd, const struct iovec *v, int n)
{
    static ssize_t (*real)(int, const struct iovec *, int);
    static __thread unsigned seed = 1;
    if (real == NULL)
        real = (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "readv");
    if (rand_r(&seed) % 100 == 0)
        nanosleep(&(struct timespec){.tv_nsec = 15000000}, NULL);
    return real(fd, v, n);
}
