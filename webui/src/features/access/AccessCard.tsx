import { Alert, Group, Paper, Stack, Text, Title } from '@mantine/core'
import type { FormEventHandler, ReactNode } from 'react'

type Props = {
  title: string
  subtitle: string
  error: string | undefined
  onSubmit: FormEventHandler
  children: ReactNode
}

/** The form of a page that is shown to whoever is not logged in yet. */
export function AccessCard({ title, subtitle, error, onSubmit, children }: Props) {
  return (
    <main className="centre">
      <Paper className="card" p="xl" radius="lg" w="100%" maw={420} shadow="sm">
        <form onSubmit={onSubmit}>
          <Stack gap="md">
            <Group gap="sm">
              <img src="/icon.svg" alt="" width={36} height={36} />
              <div>
                <Title order={1} size="h3">
                  {title}
                </Title>
                <Text size="sm" c="dimmed">
                  {subtitle}
                </Text>
              </div>
            </Group>
            <SubmissionError error={error} />
            {children}
          </Stack>
        </form>
      </Paper>
    </main>
  )
}

export function SubmissionError({ error }: { error: string | undefined }) {
  if (!error) return null
  return (
    <Alert color="red" role="alert">
      {error}
    </Alert>
  )
}
