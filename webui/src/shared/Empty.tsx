import { Stack, Text, ThemeIcon, Title } from '@mantine/core'
import type { IconAnchor } from '@tabler/icons-react'
import type { ReactNode } from 'react'

/** Nothing is here yet: what could be, and how it comes about. */
export function Empty(props: { icon: typeof IconAnchor; title: string; hint: string; action?: ReactNode }) {
  return (
    <Stack align="center" gap="xs" py={56} px="md">
      <ThemeIcon size={56} radius="xl" variant="light" aria-hidden>
        <props.icon size={28} />
      </ThemeIcon>
      <Title order={2} size="h4" mt="xs">
        {props.title}
      </Title>
      <Text c="dimmed" ta="center" maw={460}>
        {props.hint}
      </Text>
      {props.action}
    </Stack>
  )
}
