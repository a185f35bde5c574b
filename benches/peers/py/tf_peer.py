"""TensorFlow and Keras on the CPU. The variable VARIANT chooses: tf (tf.function), tf_xla (and compiled by XLA)."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import harness
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

tf.config.threading.set_intra_op_parallelism_threads(harness.THREADS)
tf.config.threading.set_inter_op_parallelism_threads(harness.THREADS)

XLA = harness.variant("tf") == "tf_xla"


def function(f):
    return tf.function(f, jit_compile=XLA)


def new_network():
    tf.random.set_seed(0)
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10),
        ]
    )


def new_adam():
    return keras.optimizers.Adam(1e-3, epsilon=1e-7)


def new_loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Training:
    def __init__(self):
        self.network = network = new_network()
        adam, loss_of = new_adam(), new_loss()

        @function
        def step(images, labels):
            with tf.GradientTape() as tape:
                loss = loss_of(labels, network(images, training=True))
            variables = network.trainable_variables
            adam.apply_gradients(zip(tape.gradient(loss, variables), variables))
            return loss

        self.compiled = step

    def step(self, images, labels):
        return self.compiled(images[..., None], labels)

    def read(self, loss):
        return float(loss)

    def classifier(self):
        classify = function(lambda images: tf.argmax(self.network(images, training=False), 1))
        return lambda images: classify(images[..., None]).numpy()


class TensorFlow:
    name = "tf"

    def device(self):
        return "CPU"

    def trainer(self):
        return Training()

    def matmul(self, a, b, times):
        a, b = tf.constant(a), tf.constant(b)

        @function
        def chain(a, b):
            for _ in range(times):
                b = tf.matmul(a, b)
            return b

        def work(read):
            product = chain(a, b)
            # Copies one element: waits for the rest, too.
            product[0, 0].numpy()
            return product[0].numpy() if read else None

        return work

    def conv(self, case, backward):
        out = case.output_size()
        image = tf.constant(harness.uniform((case.batch, case.size, case.size, case.inputs), 1, 2))
        kernel = tf.constant(harness.uniform((3, 3, case.inputs, case.outputs), 0.1, 3))
        bias = tf.zeros(case.outputs)
        upstream = tf.constant(harness.uniform((case.batch, out, out, case.outputs), 1, 4))
        padding = "SAME" if case.padding else "VALID"

        @function
        def forward(image, kernel, bias):
            return tf.nn.conv2d(image, kernel, 1, padding) + bias

        @function
        def both(image, kernel, bias):
            with tf.GradientTape() as tape:
                tape.watch([image, kernel, bias])
                loss = tf.reduce_sum((tf.nn.conv2d(image, kernel, 1, padding) + bias) * upstream)
            # The loss, too: else the forward pass would be left out.
            return loss, tape.gradient(loss, [image, kernel, bias])

        def work(_):
            if backward:
                loss, gradients = both(image, kernel, bias)
                loss.numpy()
                for gradient in gradients:
                    tf.reshape(gradient, [-1])[0].numpy()
            else:
                forward(image, kernel, bias)[0, 0, 0, 0].numpy()

        return work

    def fit(self, batch, epochs, out):
        """MNIST the short way: the library's own training loop."""
        (images, labels), (test, answers) = harness.read_mnist()
        data = sum(array.nbytes for array in (images, labels, test, answers))
        out.value(f"fit_b{batch}_data_mb", data / (1 << 20))
        images, test = images[..., None], test[..., None]
        network = new_network()
        network.compile(optimizer=new_adam(), loss=new_loss(), jit_compile=XLA)
        for epoch in range(1, epochs + 1):
            metric = f"fit_b{batch}_epoch{epoch}"
            out.value(f"{metric}_s", harness.seconds_of(lambda: network.fit(images, labels, batch_size=batch, verbose=0)))
            classes = network.predict(test, batch_size=harness.INFER_BATCH, verbose=0).argmax(1)
            out.value(f"{metric}_accuracy", float((classes == answers).mean()))
        out.peak_memory(f"fit_b{batch}")


harness.main(TensorFlow())
