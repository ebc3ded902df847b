-- What is not compressed any more: a SOP class for a destination, or (destination '') a kind of image for all.
CREATE TABLE compression_bar (
    destination TEXT NOT NULL,
    subject TEXT NOT NULL,
    why TEXT NOT NULL,
    since TEXT NOT NULL,
    PRIMARY KEY (destination, subject)
) STRICT;
