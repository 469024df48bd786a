// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmabuf-sync: the tracepoints of trace.h, and the counters beside them.
 */
#include "dsync.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

DEFINE_PER_CPU(unsigned long [DSYNC_COUNTERS], dsync_counters);
