// The modes of echo-client; each takes what stands after its name and returns the exit status.
#pragma once
#include "common.h"

int mode_load(Options &options);   // load.cc: unary load, shares, latencies
int mode_ping(Options &options);   // load.cc: single calls after pauses
int mode_calls(Options &options);  // calls.cc: direct against through the gateway, field by field
int mode_hold(Options &options);   // streams.cc: streams that stay open
int mode_slow(Options &options);   // streams.cc: a slow reader beside a fast one
int mode_cancel(Options &options); // cancel.cc: calls that are cancelled as they begin
int mode_mixed(Options &options);  // mixed.cc: everything at once
