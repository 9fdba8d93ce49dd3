/* notify: tells systemd what weir is doing (sd_notify(3): datagrams to $NOTIFY_SOCKET). Nothing happens where
 * there is no such socket. Main thread. */
#pragma once

/* state: lines as sd_notify takes them, "READY=1\nMAINPID=12". */
void notify_send(const char *state);
/* RELOADING=1 with the time that Type=notify-reload asks for; READY=1 ends it. */
void notify_reloading(void);
