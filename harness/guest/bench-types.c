// SPDX-License-Identifier: GPL-2.0
/*
 * Change the type of an IOMMU group from one to another and back, again and
 * again, and say how long each of the two takes.
 *
 *   bench-types <type file> <one> <other> <rounds>
 *
 * The output is a line "<one>-to-<other> <ns> <rounds>" and one for the way
 * back. The time is that of all rounds together.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Rounds before the ones that count, in which caches and pools fill */
#define WARM_UP	8

static const char *path;
static int file;

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

static uint64_t change_to(const char *type)
{
	size_t length = strlen(type);
	uint64_t start = now();

	if (pwrite(file, type, length, 0) != (ssize_t)length) {
		fprintf(stderr, "%s to %s: ", path, type);
		perror(NULL);
		exit(1);
	}
	return now() - start;
}

int main(int argc, char **argv)
{
	uint64_t there = 0, back = 0;
	int rounds, round;

	if (argc != 5)
		return 2;
	path = argv[1];
	rounds = atoi(argv[4]);
	file = open(path, O_WRONLY);
	if (file < 0) {
		perror(path);
		return 1;
	}
	change_to(argv[2]);
	for (round = 0; round < WARM_UP + rounds; round++) {
		if (round == WARM_UP)
			there = back = 0;
		there += change_to(argv[3]);
		back += change_to(argv[2]);
	}
	printf("%s-to-%s %llu %d\n", argv[2], argv[3],
	       (unsigned long long)there, rounds);
	printf("%s-to-%s %llu %d\n", argv[3], argv[2],
	       (unsigned long long)back, rounds);
	return 0;
}
