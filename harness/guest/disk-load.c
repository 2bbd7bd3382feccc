// SPDX-License-Identifier: GPL-2.0
/*
 * Keep a disk busy, and compare all that it gives back.
 *
 *   disk-load <disk or file> <offset> <MiB> <jobs> <stop>
 *
 * Each job has a part of those MiB for itself. It writes blocks there past the
 * page cache, in any order, and now and then reads one and compares it with
 * what it has written there last. So the disk has as many requests under way as
 * there are jobs. This goes on until the file <stop> is there; then every
 * block is compared.
 *
 * A block begins with its number and with how often it was written, and what
 * follows depends on both: one that is old, in a wrong place, or not all there
 * is told from a right one. fio's verify does the same; but it needs System V's
 * shared memory, which a kernel need not have.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK	16384
#define WORDS	(BLOCK / sizeof(uint64_t))

struct job {
	pthread_t thread;
	unsigned int seed;
	/* In blocks of the disk */
	uint64_t begin;
	uint64_t end;
	uint64_t *buffer;
	/* How often each block was written */
	uint32_t *written;
	uint64_t writes;
	uint64_t reads;
	bool wrong;
};

static const char *stop;
static int disk;

static uint64_t word_of(uint64_t block, uint32_t written, size_t index)
{
	if (!index)
		return block;
	if (index == 1)
		return written;
	return (block << 40 ^ (uint64_t)written << 16 ^ index) *
	       0x9e3779b97f4a7c15ULL;
}

static bool write_block(struct job *job, uint64_t block)
{
	uint32_t written = ++job->written[block - job->begin];

	for (size_t i = 0; i < WORDS; i++)
		job->buffer[i] = word_of(block, written, i);
	if (pwrite(disk, job->buffer, BLOCK, block * BLOCK) != BLOCK) {
		printf("writing block %ju: %s\n", (uintmax_t)block,
		       strerror(errno));
		return false;
	}
	job->writes++;
	return true;
}

static bool compare_block(struct job *job, uint64_t block)
{
	uint32_t written = job->written[block - job->begin];

	memset(job->buffer, 0xff, BLOCK);
	if (pread(disk, job->buffer, BLOCK, block * BLOCK) != BLOCK) {
		printf("reading block %ju: %s\n", (uintmax_t)block,
		       strerror(errno));
		return false;
	}
	job->reads++;
	if (!written)
		return true;
	for (size_t i = 0; i < WORDS; i++) {
		if (job->buffer[i] == word_of(block, written, i))
			continue;
		printf("block %ju, written %u times: word %zu is %#jx, not %#jx; the block says that it is %ju, written %ju times\n",
		       (uintmax_t)block, written, i,
		       (uintmax_t)job->buffer[i],
		       (uintmax_t)word_of(block, written, i),
		       (uintmax_t)job->buffer[0], (uintmax_t)job->buffer[1]);
		return false;
	}
	return true;
}

static bool work(struct job *job)
{
	uint64_t blocks = job->end - job->begin;

	do {
		uint64_t block = job->begin + rand_r(&job->seed) % blocks;

		if (!write_block(job, block))
			return false;
		block = job->begin + rand_r(&job->seed) % blocks;
		if (!compare_block(job, block))
			return false;
	} while (access(stop, F_OK));
	for (uint64_t block = job->begin; block < job->end; block++)
		if (!compare_block(job, block))
			return false;
	return true;
}

static void *run(void *argument)
{
	struct job *job = argument;

	job->wrong = !work(job);
	return NULL;
}

int main(int argc, char **argv)
{
	uint64_t begin, blocks, writes = 0, reads = 0;
	unsigned int number;
	bool wrong = false;
	struct job *jobs;

	if (argc != 6) {
		fprintf(stderr, "usage: %s DISK OFFSET MIB JOBS STOP\n", argv[0]);
		return 2;
	}
	begin = strtoull(argv[2], NULL, 0) / BLOCK;
	number = strtoul(argv[4], NULL, 0);
	blocks = (strtoull(argv[3], NULL, 0) << 20) / BLOCK / number;
	stop = argv[5];
	disk = open(argv[1], O_RDWR | O_DIRECT);
	if (disk < 0) {
		perror(argv[1]);
		return 2;
	}
	jobs = calloc(number, sizeof(*jobs));
	if (!jobs)
		return 2;
	for (unsigned int i = 0; i < number; i++) {
		struct job *job = &jobs[i];

		job->seed = i + 1;
		job->begin = begin + i * blocks;
		job->end = job->begin + blocks;
		job->written = calloc(blocks, sizeof(*job->written));
		job->buffer = aligned_alloc(4096, BLOCK);
		if (!job->written || !job->buffer ||
		    pthread_create(&job->thread, NULL, run, job))
			return 2;
	}
	for (unsigned int i = 0; i < number; i++) {
		pthread_join(jobs[i].thread, NULL);
		writes += jobs[i].writes;
		reads += jobs[i].reads;
		wrong |= jobs[i].wrong;
	}
	printf("%ju blocks written, %ju compared\n", (uintmax_t)writes,
	       (uintmax_t)reads);
	return wrong;
}
