/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Let allocations, and attaches to an IOMMU domain, fail one after the other,
 * see Documentation/fault-injection/fault-injection.rst.
 *
 * remember_faults() before the first test, give_back_faults() after the last.
 */
#ifndef FAULTS_H
#define FAULTS_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "../kselftest.h"
#include "sysfs_line.h"

#define DEBUGFS		"/sys/kernel/debug"

/* The kernel counts down from here, so that it can be seen what failed */
#define FAULTS		"1000000"
#define SLAB_FAULTS	DEBUGFS "/failslab/times"
#define PAGE_FAULTS	DEBUGFS "/fail_page_alloc/times"

/* Errors can be injected into the function that every attach goes through */
#define FUNCTION_FAULTS	DEBUGFS "/fail_function"
#define ATTACH_FUNCTION	"__iommu_attach_device"

struct setting {
	const char *path;
	const char *value;
	bool optional;
	/* What it had before, to be given back; empty if it is not there */
	char before[NAME_SIZE];
};

/*
 * Any allocation can fail, and without a word in the log. Where iommufd has
 * faults of its own, they count as well for what is the nth.
 */
static struct setting fault_settings[] = {
	{ DEBUGFS "/failslab/ignore-gfp-wait", "N" },
	{ SLAB_FAULTS, FAULTS },
	{ DEBUGFS "/failslab/verbose", "0" },
	{ DEBUGFS "/fail_page_alloc/ignore-gfp-wait", "N" },
	{ DEBUGFS "/fail_page_alloc/ignore-gfp-highmem", "N" },
	{ DEBUGFS "/fail_page_alloc/min-order", "0" },
	{ PAGE_FAULTS, FAULTS },
	{ DEBUGFS "/fail_page_alloc/verbose", "0" },
	{ DEBUGFS "/fail_iommufd/times", "-1", true },
	{ DEBUGFS "/fail_iommufd/verbose", "0", true },
	/* None until fail_next_attach() says so, and then always */
	{ FUNCTION_FAULTS "/times", "0", true },
	{ FUNCTION_FAULTS "/probability", "100", true },
	{ FUNCTION_FAULTS "/verbose", "0", true },
};

/* Remember how the kernel makes allocations fail before the first test */
static inline void remember_faults(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(fault_settings); i++) {
		struct setting *setting = &fault_settings[i];

		if (read_line(setting->path, setting->before))
			setting->before[0] = '\0';
	}
}

/* Called once, however the tests end */
static inline void give_back_faults(void)
{
	/* An error says that no test has put it there */
	write_line(FUNCTION_FAULTS "/inject", "!" ATTACH_FUNCTION);
	for (unsigned int i = 0; i < ARRAY_SIZE(fault_settings); i++) {
		struct setting *setting = &fault_settings[i];

		if (setting->before[0] &&
		    write_line(setting->path, setting->before))
			ksft_print_msg("%s is not %s again: %m\n",
				       setting->path, setting->before);
	}
}

/* Returns why the kernel cannot be told, or NULL */
static inline const char *set_faults(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(fault_settings); i++) {
		struct setting *setting = &fault_settings[i];

		if (!setting->before[0] && setting->optional)
			continue;
		if (!setting->before[0] ||
		    write_line(setting->path, setting->value))
			return "this kernel cannot make allocations fail";
	}
	return NULL;
}

/*
 * Opens the file that says which allocation of this thread is to fail. Returns
 * why not, or NULL.
 */
static inline const char *open_faults(int *faults)
{
	const char *reason = set_faults();

	if (reason)
		return reason;
	/* A copy from or to user space that fails is no allocation */
	if (!access(DEBUGFS "/fail_usercopy", F_OK))
		return "in this kernel not only allocations would fail";
	*faults = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	return *faults < 0 ? "no file fail-nth" : NULL;
}

/* The nth allocation from now on fails; 0 is none */
static inline int set_fault(int faults, unsigned int nth)
{
	char line[NAME_SIZE];
	int len = snprintf(line, sizeof(line), "%u", nth);

	return pwrite(faults, line, len, 0) == len ? 0 : -errno;
}

/* How many more allocations there are up to the one that fails */
static inline int get_fault(int faults, unsigned int *nth)
{
	char line[NAME_SIZE];
	ssize_t len = pread(faults, line, sizeof(line) - 1, 0);

	if (len <= 0)
		return -EIO;
	line[len] = '\0';
	*nth = strtoul(line, NULL, 10);
	return 0;
}

/* How many allocations have failed since open_faults(), or a negative errno */
static inline int failed_allocations(void)
{
	static const char * const paths[] = { SLAB_FAULTS, PAGE_FAULTS };
	char line[NAME_SIZE];
	int failed = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(paths); i++) {
		if (read_line(paths[i], line))
			return -errno;
		failed += atoi(FAULTS) - atoi(line);
	}
	return failed;
}

/*
 * Say what an attach fails with, when it does, and how many of the next ones do
 * of themselves. Where times is 0, the nth call of set_fault() can be one.
 * Returns 0 or a negative errno.
 */
static inline int name_attach_error(int error, const char *times)
{
	char line[NAME_SIZE];

	/* The test before this may have named the function already */
	if (write_line(FUNCTION_FAULTS "/inject", ATTACH_FUNCTION) &&
	    errno != EBUSY)
		return -errno;
	snprintf(line, sizeof(line), "%#llx", (long long)-error);
	if (write_line(FUNCTION_FAULTS "/" ATTACH_FUNCTION "/retval", line) ||
	    write_line(FUNCTION_FAULTS "/times", times))
		return -errno;
	return 0;
}

/* Let the next attach fail with an error; returns 0 or a negative errno */
static inline int fail_next_attach(int error)
{
	return name_attach_error(error, "1");
}

#endif /* FAULTS_H */
