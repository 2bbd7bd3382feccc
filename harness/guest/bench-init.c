// SPDX-License-Identifier: GPL-2.0
/*
 * The first program of a machine that ./lab bench boots: load the module that
 * takes the time of the boot as soon as a program can, then go on as usual.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MODULE	"/lab/lab_bench.ko"
#define INIT	"/init"

int main(void)
{
	char *argv[] = { INIT, NULL };
	int file;

	file = open(MODULE, O_RDONLY | O_CLOEXEC);
	if (file < 0 || syscall(SYS_finit_module, file, "", 0))
		perror(MODULE);
	execv(INIT, argv);
	perror(INIT);
	return 1;
}
