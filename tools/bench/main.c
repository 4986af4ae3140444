/* penstock-bench: what an RPC costs the gateway, in cycles. */
#include "bench.h"

int main(int argc, char **argv)
{
    struct arguments a;
    struct figures f = {0};
    int status = options_parse(argc, argv, &a);
    if (status >= 0)
        return status;
    if (a.rows > 0)
        return rows_run(&a);
    bool ok = run(&a.o, &f);
    if (f.rpcs > 0)
        report(&f, &a);
    return ok ? 0 : 1;
}
