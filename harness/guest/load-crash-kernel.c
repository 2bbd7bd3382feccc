// SPDX-License-Identifier: GPL-2.0
/*
 * load-crash-kernel IMAGE INITRAMFS COMMAND-LINE
 *
 * Puts a kernel where a panic will start it.
 */
#include <fcntl.h>
#include <linux/kexec.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		perror(path);
	return fd;
}

int main(int argc, char **argv)
{
	int kernel, initramfs;

	if (argc != 4) {
		fprintf(stderr, "usage: %s IMAGE INITRAMFS COMMAND-LINE\n",
			argv[0]);
		return 2;
	}

	kernel = open_file(argv[1]);
	initramfs = open_file(argv[2]);
	if (kernel < 0 || initramfs < 0)
		return 1;

	/* The length that the kernel wants includes the NUL. */
	if (syscall(SYS_kexec_file_load, kernel, initramfs,
		    strlen(argv[3]) + 1, argv[3], KEXEC_FILE_ON_CRASH)) {
		perror("kexec_file_load");
		return 1;
	}
	return 0;
}
