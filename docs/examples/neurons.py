"""
Neurons are particles
=====================

A network of two layers is a mean over its neurons. Training it on the outputs
of another network is an MMD flow between the two clouds of neurons, with the
kernel of their responses to the data. Noise injection helps it as it helps any
MMD flow.
"""

import particleflow as pf
from particleflow.kernels import FeatureKernel, Neurons, Tanh

sphere = pf.samplers.Sphere(dim=5)
seen = Neurons(sphere.sample(200, seed=0), activation=Tanh(), output_weight=False)
unseen = Neurons(
    sphere.sample(1000, seed=1), activation=Tanh(), output_weight=False
)

teacher = pf.samplers.Gaussian(dim=seen.dim, std=3.0).sample(3, seed=2)
student = pf.samplers.Gaussian(dim=seen.dim).sample(40, seed=3)
validation = pf.metrics.MMD2(FeatureKernel(unseen))

flows = {
    "plain": pf.mmd_flow(FeatureKernel(seen)),
    "with noise": pf.mmd_flow(
        FeatureKernel(seen),
        noise=pf.schedules.Geometric(1.0, every=250, smooth=True),
    ),
}
paths = {
    name: pf.simulate(
        flow,
        student,
        teacher,
        steps=2000,
        dt=3.0,
        save=pf.SaveAt(every=20),
        metrics={"validation risk": validation},
        seed=4,
    )
    for name, flow in flows.items()
}
pf.plotting.curves(paths, metrics=["validation risk"])

# %%
# The risk is measured on data that neither flow has seen. It is the mean square
# of student minus teacher, and the MMD² between their neurons is the same
# number.

student_end = paths["with noise"].particles[-1]
outputs = [unseen.features(cloud).mean(0) for cloud in (student_end, teacher)]
risk = float(((outputs[0] - outputs[1]) ** 2).sum())  # features are over sqrt(n)
print(f"mean square of student minus teacher {risk:.6f}")
print(f"MMD² between the neurons {float(validation(student_end, teacher)):.6f}")
