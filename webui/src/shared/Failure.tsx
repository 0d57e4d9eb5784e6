import { Alert, Button, Group, Text } from '@mantine/core'
import { IconAlertTriangle } from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import type { CombinedError } from 'urql'

/** An error in the server's own words, with what can be done. */
export function Failure({ error, retry }: { error: CombinedError | Error; retry?: () => void }) {
  const { t } = useTranslation()
  const messages =
    'graphQLErrors' in error && error.graphQLErrors.length > 0
      ? error.graphQLErrors.map((one) => one.message.replace(/^input(\.\w+)*: /, ''))
      : [error.message.replace(/^\[\w+\] /, '')]
  return (
    <Alert
      color="red"
      icon={<IconAlertTriangle size={18} aria-hidden />}
      title={t('app.failed')}
      role="alert"
    >
      {messages.map((message) => (
        <Text key={message} size="sm">
          {message}
        </Text>
      ))}
      {retry && (
        <Group mt="sm">
          <Button size="xs" variant="light" color="red" onClick={retry}>
            {t('app.retry')}
          </Button>
        </Group>
      )}
    </Alert>
  )
}
