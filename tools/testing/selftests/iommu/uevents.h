/* SPDX-License-Identifier: GPL-2.0-only */
/* The events that the kernel sends of its objects */
#ifndef UEVENTS_H
#define UEVENTS_H

#include <errno.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sysfs_line.h"

/* A message of the kernel is a line "<action>@<path>" and then variables */
struct uevent {
	char text[8192];
	size_t size;
};

/* Returns a socket, or -1 with errno set */
static inline int uevents_listen(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC,
			NETLINK_KOBJECT_UEVENT);
	int room = 1 << 20;

	if (fd < 0)
		return -1;
	/* Many events may come before somebody looks at them */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Waits for the next one. Returns 0, or -1 with errno set, also when one is lost */
static inline int uevents_next(int fd, struct uevent *event)
{
	ssize_t size = recv(fd, event->text, sizeof(event->text) - 1, 0);

	if (size < 0)
		return -1;
	event->text[size] = '\0';
	event->size = size;
	return 0;
}

static inline bool uevent_is(const struct uevent *event, const char *action,
			     const char *path)
{
	size_t len = strlen(action);

	return !strncmp(event->text, action, len) &&
	       event->text[len] == '@' &&
	       !strcmp(event->text + len + 1, path);
}

/* The value of a variable, or NULL */
static inline const char *uevent_value(const struct uevent *event,
				       const char *name)
{
	const char *end = event->text + event->size;
	size_t len = strlen(name);

	for (const char *at = event->text; at < end; at += strlen(at) + 1)
		if (!strncmp(at, name, len) && at[len] == '=')
			return at + len + 1;
	return NULL;
}

#endif /* UEVENTS_H */
