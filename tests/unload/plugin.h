/* What a plug-in of these tests gives its host, by dlsym("plugin"). */

#ifndef PLUGIN_H
#define PLUGIN_H

#include <inferno.h>

struct plugin {
    inferno_status (*open)(void);              /* counts in, loads, makes a session with a helper thread */
    inferno_status (*run)(float *answer);      /* ten numbers */
    inferno_status (*close)(void);             /* frees, counts out */
    inferno_session *(*session)(void);
    inferno_status (*run_other)(inferno_session *session); /* runs a session of somebody else's */
};

#endif
