/* penstock-bench: calls a gateway and answers for its backends; what an RPC costs. */
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
    if (a.print_config) {
        options_print_config(&a.o);
        return 0;
    }
    bool ok = run(&a.o, &f);
    if (f.rpcs > 0)
        report(&f, &a);
    return ok ? 0 : 1;
}
