// SPDX-License-Identifier: GPL-2.0
/*
 * Give IOMMU groups one type after the other, and show what memory is in use
 * with each.
 *
 *   bench-memory <type>... -- <type file>...
 *
 * For each type, when all groups have it, the output is a line "type <type>"
 * and the kernel's files that tell of memory. In between this program starts
 * no other, opens nothing and allocates nothing, and what each processor keeps
 * for itself is flushed: the differences are what the groups take.
 */
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_TYPES	8
#define TEXT_SIZE	(256 << 10)

static const char * const files[] = {
	"/proc/meminfo", "/proc/vmstat", "/proc/zoneinfo", "/proc/slabinfo",
};

#define FILES	(sizeof(files) / sizeof(files[0]))

static int file[FILES];
static char text[MAX_TYPES][TEXT_SIZE];

static int open_or_die(const char *path, int flags)
{
	int opened = open(path, flags);

	if (opened < 0) {
		perror(path);
		exit(1);
	}
	return opened;
}

static void write_or_die(int opened, const char *word, const char *what)
{
	if (pwrite(opened, word, strlen(word), 0) != (ssize_t)strlen(word)) {
		fprintf(stderr, "%s to ", word);
		perror(what);
		exit(1);
	}
}

static void read_files(char *into)
{
	size_t used = 0;
	ssize_t got;
	unsigned int i;

	for (i = 0; i < FILES; i++) {
		lseek(file[i], 0, SEEK_SET);
		do {
			got = read(file[i], into + used, TEXT_SIZE - 1 - used);
			used += got > 0 ? got : 0;
		} while (got > 0);
	}
	into[used] = 0;
}

int main(int argc, char **argv)
{
	int types, groups, i, j, *group, *shrink;
	glob_t caches;

	for (types = 0; types < argc - 1; types++)
		if (!strcmp(argv[types + 1], "--"))
			break;
	groups = argc - types - 2;
	if (types > MAX_TYPES || groups < 1)
		return 2;
	argv++;

	for (i = 0; i < (int)FILES; i++)
		file[i] = open_or_die(files[i], O_RDONLY);
	group = calloc(groups, sizeof(*group));
	for (i = 0; i < groups; i++)
		group[i] = open_or_die(argv[types + 1 + i], O_WRONLY);
	if (glob("/sys/kernel/slab/*/shrink", 0, NULL, &caches))
		return 1;
	shrink = calloc(caches.gl_pathc, sizeof(*shrink));
	for (i = 0; i < (int)caches.gl_pathc; i++)
		shrink[i] = open_or_die(caches.gl_pathv[i], O_WRONLY);
	/* Have every page and every buffer that will be used. */
	memset(text, 1, sizeof(text));
	read_files(text[0]);

	for (i = 0; i < types; i++) {
		for (j = 0; j < groups; j++)
			write_or_die(group[j], argv[i], argv[types + 1 + j]);
		/* What was freed may wait for others to have passed. */
		sleep(2);
		for (j = 0; j < (int)caches.gl_pathc; j++)
			write_or_die(shrink[j], "1", caches.gl_pathv[j]);
		read_files(text[i]);
	}
	for (i = 0; i < types; i++)
		printf("type %s\n%s", argv[i], text[i]);
	return 0;
}
