#!/usr/bin/env python3
"""Writes optim.json: 25 steps of Keras's and PyTorch's optimizers, and values of their schedules, in float64.

    pip install torch keras
    python tests/golden/optim.py

Each case has the settings of wgrad's optimizer, as `optim::from_config` takes them, and the variables after some of the
steps. The problem is a quadratic that changes from step to step: sum(scale * (x - target)^2) over three variables.
"""

import json
import os
import pathlib
import subprocess
import sys

# Keras computes in float64 with PyTorch below it only: TensorFlow's schedules round to float32. Each has a process of its own.
PART = sys.argv[1] if len(sys.argv) > 1 else None
import numpy as np

if PART == "keras":
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import keras

    keras.backend.set_floatx("float64")
    K = keras.optimizers
    S = K.schedules
if PART == "torch":
    import torch

    torch.set_default_dtype(torch.float64)
    T = torch.optim
    L = T.lr_scheduler

STEPS = 25
SHOWN = [1, 2, 3, 5, 10, 25]
START = [np.array([1.0, -2.0, 0.5]), np.array([3.0]), np.array([[0.25, -0.75], [1.5, -1.25]])]
SCALE = [np.array([1.0, 2.0, 3.0]), np.array([4.0]), np.array([[0.5, 0.125], [0.0, 2.0]])]


def target(step):
    return 0.25 * (step % 5)


def gradients(values, step):
    return [2.0 * s * (v - target(step)) for s, v in zip(SCALE, values)]


def flat(values):
    return [float(x) for v in values for x in np.asarray(v).reshape(-1)]


cases = []


def in_keras(optimizer, config, exclude=None, accumulate=1):
    variables = [keras.Variable(v, dtype="float64", name=n) for v, n in zip(START, ["a", "bias", "c"])]
    if exclude:
        optimizer.exclude_from_weight_decay(var_names=exclude)
    optimizer.build(variables)
    shown = {}
    for step in range(STEPS * accumulate):
        grads = gradients([keras.ops.convert_to_numpy(v) for v in variables], step)
        optimizer.apply([keras.ops.convert_to_tensor(g, dtype="float64") for g in grads], variables)
        if (step + 1) % accumulate == 0 and (step + 1) // accumulate in SHOWN:
            shown[str((step + 1) // accumulate)] = flat(map(keras.ops.convert_to_numpy, variables))
    case = {"of": "Keras", "config": config, "values": shown}
    if exclude:
        case["exclude"] = [1]
    if accumulate > 1:
        case["accumulate"] = accumulate
    if optimizer.use_ema:
        optimizer.finalize_variable_values(variables)
        case["averages"] = flat(map(keras.ops.convert_to_numpy, variables))
    cases.append(case)


def in_torch(make, config, schedule=None, clip=None, groups=None):
    variables = [torch.tensor(v, requires_grad=True) for v in START]
    if groups:
        optimizer = make([{"params": [v], **g} for v, g in zip(variables, groups)])
    else:
        optimizer = make(variables)
    scheduler = schedule(optimizer) if schedule else None
    shown = {}
    for step in range(STEPS):
        values = [v.detach().numpy() for v in variables]
        for v, g in zip(variables, gradients(values, step)):
            v.grad = torch.tensor(g)
        if clip:
            clip(variables)
        optimizer.step()
        if scheduler:
            scheduler.step()
        if step + 1 in SHOWN:
            shown[str(step + 1)] = flat([v.detach().numpy() for v in variables])
    case = {"of": "PyTorch", "config": config, "values": shown}
    if groups:
        case["groups"] = [{"lr_scale": g["lr"] / config["learning_rate"], "coupled": g["weight_decay"]} for g in groups]
    cases.append(case)


schedules = []
RANGE = 60


def keras_schedule(schedule, config):
    rates = [float(schedule(step)) for step in range(RANGE)]
    schedules.append({"of": "Keras", "config": config, "rates": rates})


def torch_schedule(make, config, initial, steps=RANGE):
    optimizer = T.SGD([torch.zeros(1, requires_grad=True)], initial)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if len(rates) < steps:
            scheduler.step()
    schedules.append({"of": "PyTorch", "config": config, "rates": rates})


if PART == "keras":
    in_keras(K.SGD(0.05), {"name": "Sgd", "learning_rate": 0.05})
    in_keras(K.SGD(0.02, momentum=0.9), {"name": "Sgd", "learning_rate": 0.02, "momentum": 0.9})
    in_keras(K.SGD(0.02, momentum=0.8, nesterov=True, weight_decay=0.1),
             {"name": "Sgd", "learning_rate": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1})
    in_keras(K.Adam(0.1), {"name": "Adam", "learning_rate": 0.1})
    in_keras(K.Adam(0.05, beta_1=0.8, beta_2=0.99, epsilon=1e-3),
             {"name": "Adam", "learning_rate": 0.05, "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-3})
    in_keras(K.Adam(0.1, beta_2=0.9, amsgrad=True), {"name": "Adam", "learning_rate": 0.1, "beta2": 0.9, "amsgrad": True})
    in_keras(K.Adam(0.1, weight_decay=0.05), {"name": "Adam", "learning_rate": 0.1, "weight_decay": 0.05})
    in_keras(K.AdamW(0.1), {"name": "AdamW", "learning_rate": 0.1})
    in_keras(K.AdamW(0.05, weight_decay=0.3, beta_1=0.7),
             {"name": "AdamW", "learning_rate": 0.05, "weight_decay": 0.3, "beta1": 0.7})
    in_keras(K.AdamW(0.05, weight_decay=0.3), {"name": "AdamW", "learning_rate": 0.05, "weight_decay": 0.3}, exclude=["bias"])
    in_keras(K.AdamW(0.05, weight_decay=0.2, amsgrad=True, beta_2=0.8),
             {"name": "AdamW", "learning_rate": 0.05, "weight_decay": 0.2, "amsgrad": True, "beta2": 0.8})
    in_keras(K.RMSprop(0.05), {"name": "RmsProp", "learning_rate": 0.05})
    in_keras(K.RMSprop(0.02, rho=0.8, momentum=0.7, epsilon=1e-4),
             {"name": "RmsProp", "learning_rate": 0.02, "rho": 0.8, "momentum": 0.7, "epsilon": 1e-4})
    in_keras(K.RMSprop(0.02, centered=True), {"name": "RmsProp", "learning_rate": 0.02, "centered": True})
    in_keras(K.RMSprop(0.01, centered=True, momentum=0.5, epsilon=1e-3, weight_decay=0.01),
             {"name": "RmsProp", "learning_rate": 0.01, "centered": True, "momentum": 0.5, "epsilon": 1e-3, "weight_decay": 0.01})
    in_keras(K.Adagrad(0.3), {"name": "Adagrad", "learning_rate": 0.3})
    in_keras(K.Adagrad(0.2, initial_accumulator_value=0.0, epsilon=1e-3, weight_decay=0.1),
             {"name": "Adagrad", "learning_rate": 0.2, "initial_accumulator": 0.0, "epsilon": 1e-3, "weight_decay": 0.1})
    in_keras(K.Nadam(0.1), {"name": "Nadam", "learning_rate": 0.1})
    in_keras(K.Nadam(0.05, beta_1=0.8, beta_2=0.95, epsilon=1e-3, weight_decay=0.1),
             {"name": "Nadam", "learning_rate": 0.05, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3, "weight_decay": 0.1})
    in_keras(K.Lion(0.03), {"name": "Lion", "learning_rate": 0.03})
    in_keras(K.Lion(0.02, beta_1=0.8, beta_2=0.95, weight_decay=0.5),
             {"name": "Lion", "learning_rate": 0.02, "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.5})

    in_keras(K.Adadelta(1.0), {"name": "Adadelta", "learning_rate": 1.0})
    in_keras(K.Adadelta(0.5, rho=0.8, epsilon=1e-3, weight_decay=0.1),
             {"name": "Adadelta", "learning_rate": 0.5, "rho": 0.8, "epsilon": 1e-3, "weight_decay": 0.1})
    in_keras(K.Adamax(0.1), {"name": "Adamax", "learning_rate": 0.1})
    in_keras(K.Adamax(0.05, beta_1=0.8, beta_2=0.95, epsilon=1e-3, weight_decay=0.1),
             {"name": "Adamax", "learning_rate": 0.05, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3, "weight_decay": 0.1})
    in_keras(K.Ftrl(0.3), {"name": "Ftrl", "learning_rate": 0.3})
    in_keras(K.Ftrl(0.2, learning_rate_power=-0.7, initial_accumulator_value=0.5, l2_regularization_strength=0.05,
                    l2_shrinkage_regularization_strength=0.02, beta=0.3),
             {"name": "Ftrl", "learning_rate": 0.2, "power": -0.7, "initial_accumulator": 0.5, "l2": 0.05,
              "l2_shrinkage": 0.02, "beta": 0.3})
    in_keras(K.Ftrl(0.3, l1_regularization_strength=0.4, weight_decay=0.05),
             {"name": "Ftrl", "learning_rate": 0.3, "l1": 0.4, "weight_decay": 0.05})
    in_keras(K.Lamb(0.1), {"name": "Lamb", "learning_rate": 0.1})
    in_keras(K.Lamb(0.05, beta_1=0.8, beta_2=0.95, epsilon=1e-3, weight_decay=0.1),
             {"name": "Lamb", "learning_rate": 0.05, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3, "weight_decay": 0.1})

    # clipping by norm: Keras rounds minima and maxima with numbers to float32 on the way
    in_keras(K.SGD(0.05, clipvalue=0.75), {"name": "Sgd", "learning_rate": 0.05, "clip": {"value": 0.75}})
    in_keras(K.SGD(0.05, clipnorm=0.75), {"name": "Sgd", "learning_rate": 0.05, "clip": {"norm": 0.75}})
    in_keras(K.SGD(0.05, global_clipnorm=2.5), {"name": "Sgd", "learning_rate": 0.05, "clip": {"global_norm": 2.5}})
    in_keras(K.AdamW(0.05, weight_decay=0.1, clipnorm=0.75),
             {"name": "AdamW", "learning_rate": 0.05, "weight_decay": 0.1, "clip": {"norm": 0.75}})

    # averages
    in_keras(K.SGD(0.05, use_ema=True, ema_momentum=0.8),
             {"name": "Sgd", "learning_rate": 0.05, "ema": {"momentum": 0.8}})
    in_keras(K.Adam(0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=4),
             {"name": "Adam", "learning_rate": 0.1, "ema": {"momentum": 0.9, "overwrite_every": 4}})

    # gradient accumulation
    in_keras(K.Adam(0.1, gradient_accumulation_steps=3), {"name": "Adam", "learning_rate": 0.1}, accumulate=3)
    in_keras(K.SGD(0.05, momentum=0.9, global_clipnorm=2.5, gradient_accumulation_steps=2),
             {"name": "Sgd", "learning_rate": 0.05, "momentum": 0.9, "clip": {"global_norm": 2.5}}, accumulate=2)

    # schedules
    in_keras(K.Adam(S.CosineDecay(0.1, 20, alpha=0.1)),
             {"name": "Adam", "learning_rate": 9.0,
              "schedule": {"kind": "CosineDecay", "initial": 0.1, "steps": 20, "alpha": 0.1}})
    in_keras(K.AdamW(S.ExponentialDecay(0.1, 7, 0.5, staircase=True), weight_decay=0.2),
             {"name": "AdamW", "learning_rate": 9.0, "weight_decay": 0.2,
              "schedule": {"kind": "ExponentialDecay", "initial": 0.1, "steps": 7, "rate": 0.5, "staircase": True}})

    keras_schedule(S.PiecewiseConstantDecay([10, 25], [0.1, 0.02, 0.005]),
                   {"kind": "PiecewiseConstant", "first": 0.1, "pieces": [[10, 0.02], [25, 0.005]]})
    for staircase in [False, True]:
        keras_schedule(S.ExponentialDecay(0.1, 7, 0.8, staircase=staircase),
                       {"kind": "ExponentialDecay", "initial": 0.1, "steps": 7, "rate": 0.8, "staircase": staircase})
        keras_schedule(S.InverseTimeDecay(0.1, 7, 0.8, staircase=staircase),
                       {"kind": "InverseTimeDecay", "initial": 0.1, "steps": 7, "rate": 0.8, "staircase": staircase})
    for power, cycle in [(1.0, False), (2.0, False), (0.5, True)]:
        keras_schedule(S.PolynomialDecay(0.1, 20, 0.01, power=power, cycle=cycle),
                       {"kind": "PolynomialDecay", "initial": 0.1, "steps": 20, "end": 0.01, "power": power, "cycle": cycle})
    keras_schedule(S.CosineDecay(0.1, 40), {"kind": "CosineDecay", "initial": 0.1, "steps": 40, "alpha": 0.0})
    keras_schedule(S.CosineDecay(0.1, 40, alpha=0.2), {"kind": "CosineDecay", "initial": 0.1, "steps": 40, "alpha": 0.2})
    keras_schedule(S.CosineDecay(0.0, 40, alpha=0.1, warmup_target=0.1, warmup_steps=10),
                   {"kind": "Sequence", "first": {"kind": "LinearWarmup", "from": 0.0, "to": 0.1, "steps": 10},
                    "rest": [{"steps": 10, "schedule": {"kind": "CosineDecay", "initial": 0.1, "steps": 40, "alpha": 0.1}}]})
    for t_mul, m_mul, alpha in [(2.0, 1.0, 0.0), (1.0, 0.5, 0.1), (1.5, 0.8, 0.05)]:
        keras_schedule(S.CosineDecayRestarts(0.1, 8, t_mul=t_mul, m_mul=m_mul, alpha=alpha),
                       {"kind": "CosineDecayRestarts", "initial": 0.1, "first_steps": 8, "t_mul": t_mul, "m_mul": m_mul,
                        "alpha": alpha})

if PART == "torch":
    # PyTorch: coupled weight decay, groups. Its epsilon stands elsewhere than Keras's: here it is too small to tell.
    in_torch(lambda v: T.SGD(v, 0.02, momentum=0.9, weight_decay=0.1),
             {"name": "Sgd", "learning_rate": 0.02, "momentum": 0.9, "coupled_weight_decay": 0.1})
    in_torch(lambda v: T.SGD(v, 0.02, momentum=0.9, weight_decay=0.1, nesterov=True),
             {"name": "Sgd", "learning_rate": 0.02, "momentum": 0.9, "coupled_weight_decay": 0.1, "nesterov": True})
    in_torch(lambda v: T.Adam(v, 0.05, eps=1e-30, weight_decay=0.1),
             {"name": "Adam", "learning_rate": 0.05, "epsilon": 1e-30, "coupled_weight_decay": 0.1})
    in_torch(lambda v: T.AdamW(v, 0.05, eps=1e-30, weight_decay=0.1),
             {"name": "AdamW", "learning_rate": 0.05, "epsilon": 1e-30, "weight_decay": 0.1})
    in_torch(lambda v: T.RMSprop(v, 0.02, alpha=0.8, eps=1e-30, momentum=0.5, weight_decay=0.1),
             {"name": "RmsProp", "learning_rate": 0.02, "rho": 0.8, "epsilon": 1e-30, "momentum": 0.5,
              "coupled_weight_decay": 0.1})
    in_torch(lambda v: T.Adagrad(v, 0.2, initial_accumulator_value=0.1, eps=1e-30, weight_decay=0.05),
             {"name": "Adagrad", "learning_rate": 0.2, "epsilon": 1e-30, "coupled_weight_decay": 0.05})
    in_torch(lambda v: T.NAdam(v, 0.05, eps=1e-30, momentum_decay=1.0, weight_decay=0.05),
             {"name": "Nadam", "learning_rate": 0.05, "epsilon": 1e-30, "coupled_weight_decay": 0.05})
    in_torch(lambda v: T.SGD(v, momentum=0.9),
             {"name": "Sgd", "learning_rate": 0.02, "momentum": 0.9},
             groups=[{"lr": 0.02, "weight_decay": 0.1}, {"lr": 0.002, "weight_decay": 0.0}, {"lr": 0.04, "weight_decay": 0.3}])
    in_torch(lambda v: T.Adam(v, eps=1e-30),
             {"name": "Adam", "learning_rate": 0.05, "epsilon": 1e-30},
             groups=[{"lr": 0.05, "weight_decay": 0.1}, {"lr": 0.005, "weight_decay": 0.0}, {"lr": 0.1, "weight_decay": 0.3}])
    in_torch(lambda v: T.SGD(v, 0.05), {"name": "Sgd", "learning_rate": 0.05, "clip": {"value": 0.6}},
             clip=lambda v: torch.nn.utils.clip_grad_value_(v, 0.6))
    in_torch(lambda v: T.SGD(v, 0.1), {"name": "Sgd", "learning_rate": 9.0, "schedule":
             {"kind": "OneCycle", "max": 0.1, "steps": 26, "pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4,
              "linear": False, "three_phase": False}},
             schedule=lambda o: T.lr_scheduler.OneCycleLR(o, 0.1, total_steps=26, cycle_momentum=False))

    torch_schedule(lambda o: L.StepLR(o, 9, 0.3), {"kind": "StepDecay", "initial": 0.1, "every": 9, "factor": 0.3}, 0.1)
    torch_schedule(lambda o: L.ConstantLR(o, 1.0), {"kind": "Constant", "rate": 0.1}, 0.1)
    torch_schedule(lambda o: L.LinearLR(o, 0.2, 1.0, 15), {"kind": "LinearWarmup", "from": 0.02, "to": 0.1, "steps": 15}, 0.1)
    for pct_start, anneal, three_phase in [(0.3, "cos", False), (0.4, "linear", False), (0.25, "cos", True), (0.3, "linear", True)]:
        for steps in [RANGE, 21]:
            torch_schedule(
                lambda o: L.OneCycleLR(o, 0.1, total_steps=steps, pct_start=pct_start, anneal_strategy=anneal,
                                       div_factor=20.0, final_div_factor=100.0, three_phase=three_phase, cycle_momentum=False),
                {"kind": "OneCycle", "max": 0.1, "steps": steps, "pct_start": pct_start, "div_factor": 20.0,
                 "final_div_factor": 100.0, "linear": anneal == "linear", "three_phase": three_phase}, 0.1, steps)


    def warm_cosine(o):
        warm = L.LinearLR(o, 0.1, 1.0, 10)
        cosine = L.CosineAnnealingLR(o, 50, eta_min=0.01)
        return L.SequentialLR(o, [warm, cosine], milestones=[10])


    torch_schedule(warm_cosine,
                   {"kind": "Sequence", "first": {"kind": "LinearWarmup", "from": 0.01, "to": 0.1, "steps": 10},
                    "rest": [{"steps": 10, "schedule": {"kind": "CosineDecay", "initial": 0.1, "steps": 50, "alpha": 0.1}}]}, 0.1)

if PART:
    version = (keras if PART == "keras" else torch).__version__
    print(json.dumps({"version": version, "cases": cases, "schedules": schedules}))
    sys.exit()


def run(part):
    done = subprocess.run([sys.executable, __file__, part], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


parts = {part: run(part) for part in ["keras", "torch"]}
fields = {
    "versions": json.dumps({name: part["version"] for name, part in parts.items()}),
    "start": json.dumps([v.tolist() for v in START]),
    "scale": json.dumps([v.tolist() for v in SCALE]),
}
for key in ["cases", "schedules"]:
    fields[key] = "[\n" + ",\n".join(json.dumps(x) for part in parts.values() for x in part[key]) + "\n]"
out = pathlib.Path(__file__).with_name("optim.json")
temporary = out.with_suffix(".tmp")
temporary.write_text("{" + ",\n".join(f'"{k}": {v}' for k, v in fields.items()) + "}\n")
temporary.replace(out)
print(out, {key: sum(len(part[key]) for part in parts.values()) for key in ["cases", "schedules"]})
