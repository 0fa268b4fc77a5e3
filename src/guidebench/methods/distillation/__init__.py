"""Score distillation: a frozen model looks at something that is optimised, and says how it should change.

What is optimised is a *canvas* (pictures, latents, a translator's network, a 3-D field; `canvas.py`):

    begin(problems, model) -> parameters    leaf tensors by name, rows (or sets of their own) per problem
    render(parameters, step, streams, model) -> View
                                            z (n, ...) in the model's space, differentiable in them, with what else is
                                            known of it: the source seen alike, words for the prompt (", side view"),
                                            a penalty such as the L2 to a source
    result(parameters, model) -> parts      of the finished sample
    copies(step)                            views of each problem in a step

and every step the model sees it once, which is a *look* (`look.py`): z_t = alpha_t z + sigma_t eps at a time t, with
the predictions eps_u without and eps_c with the prompt. A method (`base.py`) is one function of a look,

    gradient(look) -> g (n, ...)            the descent direction on z, from eps_u, eps_c, g_cond, g_proj, x0_u, and
                                            `look.ask` for whatever else it wants to know of the network

and the loop is shared: parameters <- Adam of d/d(parameters) [ sum(stop(g) z) + penalty ]. Nothing is differentiated
through the network. `sds.py` is the shortest example.
"""
