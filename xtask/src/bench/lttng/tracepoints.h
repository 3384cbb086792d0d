/*
 * The peer's events: the same values as the recorder's, as LTTng-UST's users declare them.
 */
#undef LTTNG_UST_TRACEPOINT_PROVIDER
#define LTTNG_UST_TRACEPOINT_PROVIDER foretrace_bench

#undef LTTNG_UST_TRACEPOINT_INCLUDE
#define LTTNG_UST_TRACEPOINT_INCLUDE "tracepoints.h"

#if !defined(FORETRACE_BENCH_TRACEPOINTS_H) || defined(LTTNG_UST_TRACEPOINT_HEADER_MULTI_READ)
#define FORETRACE_BENCH_TRACEPOINTS_H

#include <lttng/tracepoint.h>
#include <stdint.h>

LTTNG_UST_TRACEPOINT_EVENT(foretrace_bench, number, LTTNG_UST_TP_ARGS(uint64_t, n),
                           LTTNG_UST_TP_FIELDS(lttng_ust_field_integer(uint64_t, n, n)))

LTTNG_UST_TRACEPOINT_EVENT(foretrace_bench, text, LTTNG_UST_TP_ARGS(uint64_t, n, const char *, text),
                           LTTNG_UST_TP_FIELDS(lttng_ust_field_integer(uint64_t, n, n)
                                                   lttng_ust_field_string(text, text)))

#endif

#include <lttng/tracepoint-event.h>
