/* upgrade_internal: what both sides of an upgrade share. Control worker. */
#pragma once

#define UPGRADE_ENV "WEIR_UPGRADE_FD"
/* Processes of earlier upgrades that may be draining at a time. */
#define ELDERS_MAX 16

struct upgrade {
    int elders[ELDERS_MAX]; /* sockets that end with the process at their other end */
    unsigned elders_count;
};
extern struct upgrade upgrade_self;
