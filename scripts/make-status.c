// SPDX-License-Identifier: MIT
/*
 * A function for GNU make: $(end-with N) ends make with status N. By itself make ends with
 * status 2 whatever a recipe's status was, but `make vm` has to end with its command's.
 * scripts/guest/build.py compiles it, the Makefile loads it.
 */
#include <gnumake.h>
#include <stdio.h>
#include <unistd.h>

int plugin_is_GPL_compatible;
int make_status_gmk_setup(void);

static char *end_with(const char *name, unsigned int argc, char **argv)
{
	const char *digit = argv[0];
	int status = 0;

	(void)name;
	(void)argc;
	while (*digit >= '0' && *digit <= '9')
		status = status * 10 + (*digit++ - '0');
	if (status)
		dprintf(STDERR_FILENO, "make: *** [vm] Error %d\n", status);
	_exit(status);
}

int make_status_gmk_setup(void)
{
	gmk_add_function("end-with", end_with, 1, 1, GMK_FUNC_DEFAULT);
	return 1;
}
