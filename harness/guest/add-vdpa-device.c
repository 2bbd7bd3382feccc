// SPDX-License-Identifier: GPL-2.0
/*
 * add-vdpa-device NAME BUS PARENT
 *
 * Makes a vDPA device of a parent such as "pci 0000:00:0a.0"; what
 * `vdpa dev add` does, without its libraries.
 */
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/vdpa.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct message {
	struct nlmsghdr head;
	struct genlmsghdr generic;
	char attributes[1024];
};

static void start(struct message *msg, int family, int command)
{
	memset(msg, 0, sizeof(*msg));
	msg->head.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
	msg->head.nlmsg_type = family;
	msg->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	msg->generic.cmd = command;
	msg->generic.version = 1;
}

/* Returns -1 when there is no room for it */
static int add_string(struct message *msg, int type, const char *text)
{
	size_t at = NLMSG_ALIGN(msg->head.nlmsg_len);
	size_t size = strlen(text) + 1;
	size_t length = NLA_HDRLEN + size;
	struct nlattr *attribute = (struct nlattr *)((char *)msg + at);

	if (at + length > sizeof(*msg))
		return -1;
	attribute->nla_len = length;
	attribute->nla_type = type;
	memcpy((char *)attribute + NLA_HDRLEN, text, size);
	msg->head.nlmsg_len = at + length;
	return 0;
}

/* The number of a family in what describes it, or 0 */
static int family_in(struct nlmsghdr *head)
{
	size_t at = NLMSG_LENGTH(GENL_HDRLEN);

	while (at + NLA_HDRLEN <= head->nlmsg_len) {
		struct nlattr *attribute =
			(struct nlattr *)((char *)head + at);

		if (attribute->nla_type == CTRL_ATTR_FAMILY_ID)
			return *(__u16 *)((char *)attribute + NLA_HDRLEN);
		at += NLA_ALIGN(attribute->nla_len);
	}
	return 0;
}

/*
 * Sends a message and waits until it was done. Returns 0, or the number of a
 * family if that was the answer; -1 with errno.
 */
static int talk(int sock, struct message *msg)
{
	struct message buffer[8];
	int family = 0;

	if (send(sock, msg, msg->head.nlmsg_len, 0) < 0)
		return -1;
	for (;;) {
		ssize_t left = recv(sock, buffer, sizeof(buffer), 0);
		struct nlmsghdr *head = &buffer->head;

		if (left < 0)
			return -1;
		for (; NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
			if (head->nlmsg_type == NLMSG_ERROR) {
				struct nlmsgerr *end = NLMSG_DATA(head);

				errno = -end->error;
				return end->error ? -1 : family;
			}
			if (head->nlmsg_type == GENL_ID_CTRL)
				family = family_in(head);
		}
	}
}

int main(int argc, char **argv)
{
	struct message msg;
	int sock, family;

	if (argc != 4) {
		fprintf(stderr, "usage: %s NAME BUS PARENT\n", argv[0]);
		return 2;
	}

	sock = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
	if (sock < 0) {
		perror("netlink");
		return 1;
	}
	start(&msg, GENL_ID_CTRL, CTRL_CMD_GETFAMILY);
	add_string(&msg, CTRL_ATTR_FAMILY_NAME, VDPA_GENL_NAME);
	family = talk(sock, &msg);
	if (family <= 0) {
		perror(VDPA_GENL_NAME);
		return 1;
	}

	start(&msg, family, VDPA_CMD_DEV_NEW);
	if (add_string(&msg, VDPA_ATTR_DEV_NAME, argv[1]) ||
	    add_string(&msg, VDPA_ATTR_MGMTDEV_BUS_NAME, argv[2]) ||
	    add_string(&msg, VDPA_ATTR_MGMTDEV_DEV_NAME, argv[3])) {
		fprintf(stderr, "%s: too long\n", argv[0]);
		return 1;
	}
	if (talk(sock, &msg)) {
		perror(argv[3]);
		return 1;
	}
	return 0;
}
