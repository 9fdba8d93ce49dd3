/* tls_watch: looks every second whether the files of TLS settings have changed, makes fresh ticket keys in
 * time, and tells the metrics when certificates end. On the control worker. */
#pragma once

/* A generation is in use (again): from now on its settings are looked after, if there is TLS in it. */
void tls_watch(void);
