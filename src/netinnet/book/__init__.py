"""What the chapter's own code calls, for four frameworks: the chapter runs with one line changed.

    from netinnet.book import torch as d2l        # or tensorflow, jax, mxnet

Each module serves two editions. One has functions: `load_data_fashion_mnist(batch_size,
resize=None)` gives the training and test batches, `train_ch6(net, train_iter, test_iter,
num_epochs, lr, device=None)` trains, and `try_gpu(i=0)` gives a device. The other, 1.0, has
objects: a `Classifier` is trained on `FashionMNIST(batch_size=64, resize=(28, 28))` by
`Trainer(max_epochs, num_gpus=0, gradient_clip_val=0).fit(model, data)`.

Two environment variables shorten a trial of either: NETINNET_BOOK_EPOCHS is the most epochs that
are trained, and NETINNET_BOOK_EXAMPLES keeps only the first so many training pictures, and as many
test pictures.

Random numbers (initial weights, order of the batches) come from the framework's own generator:
`torch.manual_seed`, `tf.keras.utils.set_random_seed` and `mx.random.seed` make a training
repeatable. JAX has no global generator, so NumPy's is used: `numpy.random.seed`.
"""
