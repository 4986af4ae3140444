/* Broken configurations: the good text below with one piece of it replaced; where the fault must be reported, and what
 * the sentence must hold. */
#ifndef BROKEN_H
#define BROKEN_H

/* clang-format off */
#define GOOD_TEXT                                                                                                                                              \
    "dpdk: { eal = [ \"--no-huge\" ]; };\n"                                  /* 1 */                                                                           \
    "workers = 1;\n"                                                         /* 2 */                                                                           \
    "drain_timeout = \"30s\";\n"                                             /* 3 */                                                                           \
    "limits: { memory = \"2GiB\"; connections = 50000; streams = 100000; };\n" /* 4 */                                                                         \
    "ports = ( {\n"                                                          /* 5 */                                                                           \
    "  name = \"front\";\n"                                                  /* 6 */                                                                           \
    "  device = \"net_tap0,iface=pen0\";\n"                                  /* 7 */                                                                           \
    "  address = [ \"198.18.0.2/24\", \"2001:db8::2/64\" ];\n"               /* 8 */                                                                           \
    "  gateway = [ \"198.18.0.1\" ];\n"                                      /* 9 */                                                                           \
    "  mtu = 1500;\n"                                                        /* 10 */                                                                          \
    "} );\n"                                                                 /* 11 */                                                                          \
    "tcp: { rto_min = \"20ms\"; };\n"                                        /* 12 */                                                                          \
    "etcd: {\n"                                                              /* 13 */                                                                          \
    "  endpoints = [ \"http://127.0.0.1:2379\" ];\n"                         /* 14 */                                                                          \
    "  username = \"\";\n"                                                   /* 15 */                                                                          \
    "};\n"                                                                   /* 16 */                                                                          \
    "listeners = ( {\n"                                                      /* 17 */                                                                          \
    "  name = \"grpc\";\n"                                                   /* 18 */                                                                          \
    "  bind = \"198.18.0.2:50051\";\n"                                       /* 19 */                                                                          \
    "  max_header_list_size = \"16KiB\";\n"                                  /* 20 */                                                                          \
    "  proxy_protocol = \"off\";\n"                                          /* 21 */                                                                          \
    "  routes = (\n"                                                         /* 22 */                                                                          \
    "    { authority = \"*\"; path = \"/echo.Echo/\"; cluster = \"echo\"; },\n" /* 23 */                                                                       \
    "    { path = \"/pay.Pay/Charge\"; cluster = \"pay\"; }\n"               /* 24 */                                                                          \
    "  );\n"                                                                 /* 25 */                                                                          \
    "} );\n"                                                                 /* 26 */                                                                          \
    "clusters = (\n"                                                         /* 27 */                                                                          \
    "  { name = \"echo\";\n"                                                 /* 28 */                                                                          \
    "    target = \"etcd:///services/echo/\";\n"                             /* 29 */                                                                          \
    "    lb_policy = \"round_robin\";\n"                                     /* 30 */                                                                          \
    "    connect_backoff: { base = \"1s\"; factor = 1.6; max = \"10s\"; };\n" /* 31 */                                                                         \
    "    panic_percent = 0; },\n"                                            /* 32 */                                                                          \
    "  { name = \"pay\";\n"                                                  /* 33 */                                                                          \
    "    target = \"static:///198.18.0.1:50061,198.18.0.1:50062\"; }\n"      /* 34 */                                                                          \
    ");\n"                                                                   /* 35 */                                                                          \
    "admin: { bind = \"127.0.0.1:9901\"; };\n"                               /* 36 */                                                                          \
    "log: { level = \"info\"; };\n"                                          /* 37 */                                                                          \
    "metrics: { max_series = 50000; };\n"                                    /* 38 */

struct broken {
    const char *find, *replace; /* the first occurrence */
    int line;
    const char *sentence; /* a piece of it */
};

static const struct broken broken[] = {
    /* syntax */
    {"workers = 1;", "workers = ;", 2, "syntax error"},
    {"name = \"front\";", "name = \"front;", 6, "never closed"},
    {"mtu = 1500;\n} );", "mtu = 1500;\n );", 11, "closes the '{' of line 5"},
    {"mtu = 1500;\n} );", "mtu = 1500;\n} } );", 11, "closes the '('"},
    {"metrics: { max_series = 50000; };\n", "metrics: { max_series = 50000;\n", 38, "never closed"},
    {"workers = 1;", "};", 2, "closes nothing"},
    {"workers = 1;", "/* workers", 2, "\"*/\" is missing"},
    {"workers = 1;", "@include \"/etc/passwd\"", 2, "@include is switched off"},
    {"workers = 1;", "workers = 1; workers = 1;", 2, "twice"},
    {"workers = 1;", "workers = 1; x = ((((((((((((((((((((((((((((((((((((((((1))))))))))))))))))))))))))))))))))))))));", 2, "nests so deep"},
    {"\"front\"", "\"fr\\x00nt\"", 6, "\\x00"},
    /* integers beyond their type */
    {"workers = 1;", "workers = 4294967297;", 2, "32 bits"},
    {"workers = 1;", "workers = 2147483648;", 2, "32 bits"},
    {"workers = 1;", "workers = -2147483649;", 2, "32 bits"},
    {"workers = 1;", "workers = 0x100000001;", 2, "32 bits"},
    {"mtu = 1500;", "mtu = 99999999999999999999;", 10, "64 bits"},
    {"mtu = 1500;", "mtu = 4294968796L;", 10, "out of range"},
    /* keys */
    {"mtu = 1500;", "mut = 1500;", 10, "did you mean `mtu`"},
    {"workers = 1;", "worker = 1;", 2, "did you mean `workers`"},
    {"lb_policy = \"round_robin\";", "lb_polcy = \"round_robin\";", 30, "did you mean `lb_policy`"},
    {"rto_min", "rto_minimum", 12, "did you mean `rto_min`"},
    {"  bind = \"198.18.0.2:50051\";\n", "\n", 17, "`bind` is missing"},
    {"device = \"net_tap0,iface=pen0\";", "", 5, "`device` is missing"},
    /* types */
    {"workers = 1;", "workers = \"1\";", 2, "must be an integer, not a string"},
    {"drain_timeout = \"30s\";", "drain_timeout = 30;", 3, "with a unit"},
    {"drain_timeout = \"30s\";", "drain_timeout = \"30 s\";", 3, "is no duration"},
    {"drain_timeout = \"30s\";", "drain_timeout = \"-1s\";", 3, "is no duration"},
    {"drain_timeout = \"30s\";", "drain_timeout = \"99999999999999999999h\";", 3, "is no duration"},
    {"memory = \"2GiB\";", "memory = \"2GB\";", 4, "is no size"},
    {"memory = \"2GiB\";", "memory = 2;", 4, "with a unit"},
    {"ports = ( {", "ports = ( 1, {", 5, "must be a group"},
    {"[ \"198.18.0.1\" ];", "\"198.18.0.1\";", 9, "an array of strings"},
    {"[ \"198.18.0.1\" ];", "[ 1 ];", 9, "must be a string"},
    {"tcp: { rto_min = \"20ms\"; };", "tcp = \"cubic\";", 12, "must be a group"},
    {"factor = 1.6;", "factor = \"1.6\";", 31, "must be a number"},
    /* ranges */
    {"workers = 1;", "workers = 0;", 2, "1 to 64"},
    {"workers = 1;", "workers = -1;", 2, "out of range"},
    {"mtu = 1500;", "mtu = 100;", 10, "576 to 9216"},
    {"mtu = 1500;", "mtu = 1000;", 10, "1280 at least"},
    {"mtu = 1500;", "vlan = 4095;", 10, "0 to 4094"},
    {"rto_min = \"20ms\";", "rto_min = \"2s\";", 12, "\"1ms\" to \"1s\""},
    {"factor = 1.6;", "factor = 0.5;", 31, "1 to 10"},
    {"\"16KiB\"", "\"2MiB\"", 20, "\"1KiB\" to \"1MiB\""},
    {"memory = \"2GiB\"; connections = 50000;", "memory = \"64MiB\"; connections = 50000;", 4, "connections = 50000 of at least"},
    /* the EAL */
    {"\"--no-huge\"", "\"-l\", \"0-1\"", 1, "`workers` and `cores`"},
    {"\"--no-huge\"", "\"--lcores=0\"", 1, "`workers` and `cores`"},
    {"\"--no-huge\"", "\"-a\", \"0000:3b:00.0\"", 1, "`ports[].device`"},
    {"\"--no-huge\"", "\"--vdev=net_tap0\"", 1, "`ports[].device`"},
    {"\"--no-huge\"", "\"-m 512\"", 1, "holds a space"},
    {"workers = 1;", "workers = 2; cores = \"2-3\";", 2, "both given"},
    {"workers = 1;", "cores = \"5-2\";", 2, "no list"},
    {"workers = 1;", "cores = \"2,2\";", 2, "no list"},
    /* ports */
    {"\"net_tap0,iface=pen0\"", "\"tap0\"", 7, "neither a DPDK virtual device"},
    {"\"198.18.0.2/24\"", "\"198.18.0.2\"", 8, "length of its prefix"},
    {"\"198.18.0.2/24\"", "\"198.18.0.0/24\"", 8, "first or last address"},
    {"\"198.18.0.2/24\"", "\"127.0.0.1/8\"", 8, "loopback"},
    {"\"2001:db8::2/64\"", "\"198.18.0.2/24\"", 8, "stands twice"},
    {"address = [ \"198.18.0.2/24\", \"2001:db8::2/64\" ];", "address = [ ];", 8, "`address` is empty"},
    {"2/24\", \"2001:db8::2/64\" ];\n  gateway = [ \"198.18.0.1\" ];", "2/25\", \"2001:db8::2/64\" ];\n  gateway = [ \"198.18.0.129\" ];", 9, "on-link"},
    {"2/64\" ];\n  gateway = [ \"198.18.0.1\" ];", "2/45\" ];\n  gateway = [ \"2001:dc0::1\" ];", 9, "on-link"},
    {"gateway = [ \"198.18.0.1\" ];", "gateway = [ \"198.19.0.1\" ];", 9, "on-link"},
    {"gateway = [ \"198.18.0.1\" ];", "gateway = [ \"198.18.0.1\", \"198.18.0.9\" ];", 9, "two of one family"},
    {"gateway = [ \"198.18.0.1\" ];", "gateway = [ \"198.18.0.2\" ];", 9, "own address"},
    /* listeners */
    {"bind = \"198.18.0.2:50051\";", "bind = \"198.18.0.3:50051\";", 19, "none of the ports' addresses (198.18.0.2, 2001:db8::2)"},
    {"bind = \"198.18.0.2:50051\";", "bind = \"198.18.0.2:70000\";", 19, "1 to 65535"},
    {"bind = \"198.18.0.2:50051\";", "bind = \"198.18.0.2\";", 19, "IP:PORT"},
    {"proxy_protocol = \"off\";", "proxy_protocol = \"v2\";", 21, "not yet"},
    {"proxy_protocol = \"off\";", "proxy_protocol = \"v1\";", 21, "none of"},
    {"    { authority = \"*\"; path = \"/echo.Echo/\"; cluster = \"echo\"; },\n    { path = \"/pay.Pay/Charge\"; cluster = \"pay\"; }\n", "", 22, "`routes` is empty"},
    {"cluster = \"echo\"; },", "cluster = \"ecko\"; },", 23, "did you mean \"echo\""},
    {"cluster = \"echo\"; },", "},", 23, "names no cluster"},
    {"cluster = \"pay\"; }", "split = ( { cluster = \"pay\"; weight = 1; } ); }", 24, "not yet"},
    {"path = \"/echo.Echo/\"", "path = \"echo.Echo/\"", 23, "begin with '/'"},
    {"path = \"/echo.Echo/\"", "path = \"/echo.Echo\"", 23, "would match no RPC"},
    {"path = \"/echo.Echo/\"", "path = \"/echo.Echo/*\"", 23, "without '*'"},
    {"authority = \"*\"", "authority = \"a*b\"", 23, "may only stand"},
    {"authority = \"*\"", "authority = \"example.com:443\"", 23, "has a port"},
    /* clusters */
    {"{ name = \"pay\";", "{ name = \"echo\";", 33, "two clusters are named"},
    {"{ name = \"pay\";", "{ name = \"p y\";", 33, "letters, digits"},
    {"\"etcd:///services/echo/\"", "\"dns:///echo:50051\"", 29, "not yet"},
    {"\"etcd:///services/echo/\"", "\"file:///etc/echo\"", 29, "not yet"},
    {"\"etcd:///services/echo/\"", "\"etcd://services/echo/\"", 29, "third '/'"},
    {"\"etcd:///services/echo/\"", "\"etcd:///\"", 29, "empty prefix"},
    {"\"etcd:///services/echo/\"", "\"10.0.0.1:50051\"", 29, "no known scheme"},
    {"198.18.0.1:50062", "198.18.0.1:99999", 34, "no IP:PORT"},
    {"198.18.0.1:50062", "198.18.0.1:50061", 34, "stands twice"},
    {"\"round_robin\"", "\"maglev\"", 30, "not yet"},
    {"\"round_robin\"", "\"roundrobin\"", 30, "did you mean \"round_robin\""},
    {"max = \"10s\"", "max = \"10ms\"", 31, "shorter than base"},
    {"panic_percent = 0;", "panic_percent = 50;", 32, "not yet"},
    {"panic_percent = 0;", "health: { interval = \"5s\"; };", 32, "not yet"},
    {"panic_percent = 0;", "no_ready: { action = \"wait\"; };", 32, "did you mean"},
    {"panic_percent = 0;", "max_connections_per_endpoint = 17;", 32, "out of range"},
    {"panic_percent = 0;", "format = \"kratos\";", 32, "not yet"},
    {"panic_percent = 0;", "lb_config: { min_ring_size = 1024; };", 32, "not yet"},
    {"panic_percent = 0;", "connections_per_endpoint = 8;", 32, "is less than"},
    /* etcd */
    {"  endpoints = [ \"http://127.0.0.1:2379\" ];\n", "\n", 29, "`etcd.endpoints` is missing"},
    {"http://127.0.0.1:2379", "127.0.0.1:2379", 14, "is no URL"},
    {"http://127.0.0.1:2379", "http://127.0.0.1:99999", 14, "is no URL"},
    {"username = \"\";", "username = \"gw\";", 15, "password_file"},
    {"username = \"\";", "cert = \"/etc/etcd.pem\";", 15, "go together"},
    /* the rest */
    {"127.0.0.1:9901", "198.18.0.2:9901", 36, "kernel's network"},
    {"127.0.0.1:9901", "localhost:9901", 36, "IP:PORT"},
    {"\"info\"", "\"verbose\"", 37, "none of \"error\", \"warn\", \"info\", \"debug\""},
    {"max_series = 50000", "max_series = 1", 38, "100 to 10000000"},
};
/* clang-format on */

#endif
