// SPDX-License-Identifier: GPL-2.0-only
/*
 * vdmabuf: the code behind the tracepoints.
 */
#define CREATE_TRACE_POINTS
#include "trace.h"
