// SPDX-License-Identifier: GPL-2.0
/*
 * Take an IOMMU group through a cycle of types, again and again, and say how
 * long each change takes.
 *
 *   bench-types <type file> <rounds> <step>...
 *
 * A step is a type, or the path of a file that is read so that the type it
 * finds is used; that is not timed. The output is a line
 * "<before>-to-<type> <ns> <rounds>" for each type. The time is that of all
 * rounds together, after a few that do not count; before the first type comes
 * the last. A single round begins with the type that the group has.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Rounds before the ones that count, in which caches and pools fill */
#define WARM_UP		8
#define MAX_STEPS	8

static const char *path;
static int file;

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

static void fail(const char *what)
{
	fprintf(stderr, "%s, %s: ", path, what);
	perror(NULL);
	exit(1);
}

static uint64_t change_to(const char *type)
{
	size_t length = strlen(type);
	uint64_t start = now();

	if (pwrite(file, type, length, 0) != (ssize_t)length)
		fail(type);
	return now() - start;
}

static const char *type_now(void)
{
	static char type[64];
	ssize_t length = pread(file, type, sizeof(type) - 1, 0);

	if (length < 0)
		fail("read");
	type[strcspn(type, "\n")] = '\0';
	return type;
}

static void use(const char *name)
{
	int used = open(name, O_RDONLY);
	char buffer[4096];
	ssize_t length;

	if (used < 0)
		fail(name);
	do {
		length = read(used, buffer, sizeof(buffer));
		if (length < 0)
			fail(name);
	} while (length);
	close(used);
}

int main(int argc, char **argv)
{
	int steps = argc - 3, rounds, warm_up, round, step;
	uint64_t ns[MAX_STEPS] = {};
	const char *before = NULL;

	if (steps < 1 || steps > MAX_STEPS)
		return 2;
	path = argv[1];
	rounds = atoi(argv[2]);
	argv += 3;
	warm_up = rounds > 1 ? WARM_UP : 0;
	file = open(path, O_RDWR);
	if (file < 0)
		fail("open");

	if (rounds > 1) {
		for (step = 0; step < steps; step++)
			if (argv[step][0] != '/')
				before = argv[step];
		if (!before)
			return 2;
		change_to(before);
	} else {
		before = type_now();
	}
	for (round = 0; round < warm_up + rounds; round++) {
		if (round == warm_up)
			memset(ns, 0, sizeof(ns));
		for (step = 0; step < steps; step++) {
			if (argv[step][0] == '/')
				use(argv[step]);
			else
				ns[step] += change_to(argv[step]);
		}
	}
	for (step = 0; step < steps; step++) {
		if (argv[step][0] == '/')
			continue;
		printf("%s-to-%s %llu %d\n", before, argv[step],
		       (unsigned long long)ns[step], rounds);
		before = argv[step];
	}
	return 0;
}
